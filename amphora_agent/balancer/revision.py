# SPDX-License-Identifier: Apache-2.0
"""What API 2.0 keeps and tells of a load balancer."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from amphora_agent.balancer import values
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.values import ObjectId

KEPT = 10

Generation = Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]


class Origin(StrEnum):
    """What made a revision."""

    PUT = "put"
    ROLLBACK = "rollback"


class State(StrEnum):
    """How a load balancer stands to its last revision.

    `superseded`: a file was changed by others, such as a controller by API 1.0, whose word is law.
    `certificates_gone`: only certificates are missing, as after a reboot.
    """

    ACTIVE = "active"
    SUPERSEDED = "superseded"
    CERTIFICATES_GONE = "certificates_gone"


class Revision(Struct, frozen=True, kw_only=True):
    """One revision, as it lies on the disk.

    Attributes:
        generation: random, and the same from the first PUT to a DELETE: after that numbers begin
            anew, and what was known before must not fit.
        created_at: UTC, by RFC 3339.
        of: the revision that a roll-back took up.
        document: without contents of certificates, and with the password of VRRP.
        files: SHA-256 of what was written by path; None for what must not be there.
        memory_kb: what haproxy was rendered for.
    """

    revision: Annotated[int, Meta(ge=1)]
    generation: Generation
    created_at: str
    origin: Origin = Origin.PUT
    of: int | None = None
    document: LoadBalancer
    files: dict[str, str | None]
    memory_kb: Annotated[int, Meta(ge=0)]


class Summary(Struct, frozen=True, kw_only=True):
    """One revision in a list of them."""

    revision: int
    created_at: str
    origin: Origin
    of: int | None = None


class Revisions(Struct, frozen=True, kw_only=True):
    """The revisions that are kept, the newest first."""

    revisions: tuple[Summary, ...]


class Known(Struct, frozen=True, kw_only=True):
    """A load balancer in the list of them.

    Attributes:
        revision, state: None for one that came by API 1.0.
    """

    id: ObjectId
    api: str
    revision: int | None = None
    state: State | None = None


class LoadBalancers(Struct, frozen=True, kw_only=True):
    """Every load balancer of the amphora."""

    loadbalancers: tuple[Known, ...]


class Current(Struct, frozen=True, kw_only=True):
    """A load balancer.

    Attributes:
        generation: see Revision.
        differs: files that are not as the revision has them.
        document: without secrets.
        details: what was done, in the answer to a change.
        warnings: what an operator should look at, in the answer to a change.
    """

    revision: int
    generation: Generation
    state: State
    created_at: str
    origin: Origin
    of: int | None = None
    differs: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    document: LoadBalancer


class PlannedFile(Struct, frozen=True, kw_only=True):
    """A file that a change would write or remove.

    Attributes:
        content: the new one, without secrets; None where the file would go.
        diff: unified; of secrets only the checksums.
    """

    path: str
    content: str | None
    diff: str


class DryRun(Struct, frozen=True, kw_only=True):
    """What a change would do; it was checked by the programs that would read it."""

    files: tuple[PlannedFile, ...]
    warnings: tuple[str, ...] = ()


class RollBack(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a roll-back."""

    revision: Annotated[int, Meta(ge=1)]


def encode(value: Struct) -> bytes:
    """JSON of any of these; what is at its default is left out of documents only."""
    return msgspec.json.encode(value, enc_hook=values.encode)


def decode(content: bytes) -> Revision:
    """A revision as `encode` wrote it.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return msgspec.json.decode(content, type=Revision, dec_hook=values.decode)


def summary(revision: Revision) -> Summary:
    """The revision without its document."""
    return Summary(
        revision=revision.revision,
        created_at=revision.created_at,
        origin=revision.origin,
        of=revision.of,
    )


def tag(shown: Revision | Current, state: State) -> str:
    """The entity tag: another one once a controller has changed the load balancer by API 1.0."""
    known = f"{shown.revision}-{shown.generation}"
    return known if state is not State.SUPERSEDED else f"{known}-{state}"


def served(
    revision: Revision, *, details: tuple[str, ...] = (), warnings: tuple[str, ...] = ()
) -> Current:
    """A load balancer as it may be shown right after a revision was made."""
    return Current(
        revision=revision.revision,
        generation=revision.generation,
        state=State.ACTIVE,
        created_at=revision.created_at,
        origin=revision.origin,
        of=revision.of,
        details=details,
        warnings=warnings,
        document=public(revision.document),
    )


def public(document: LoadBalancer) -> LoadBalancer:
    """A document as it may be shown: without contents of certificates and the password of VRRP."""
    document = without_pems(document)
    if document.vrrp is None:
        return document
    return replace(document, vrrp=replace(document.vrrp, authentication=None))


def without_pems(document: LoadBalancer) -> LoadBalancer:
    """A document as it may lie on a disk: without contents of certificates."""
    certificates = tuple(replace(found, pem=None) for found in document.certificates)
    return replace(document, certificates=certificates)


def with_password(document: LoadBalancer, before: LoadBalancer | None) -> LoadBalancer:
    """A document with the password of VRRP that was there, if it needs one and has none.

    So that a document can be read, changed and written back, though no answer has the password.
    """
    if document.vrrp is None or before is None or before.vrrp is None:
        return document
    if document.vrrp.version != 2 or document.vrrp.authentication is not None:
        return document
    vrrp = replace(document.vrrp, authentication=before.vrrp.authentication)
    return replace(document, vrrp=vrrp)
