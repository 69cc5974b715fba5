# SPDX-License-Identifier: Apache-2.0
"""The revisions of load balancers that API 2.0 has made, as they lie on the disk."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from amphora_agent.balancer import revision as revision_of
from amphora_agent.balancer.revision import (
    Current,
    Known,
    LoadBalancers,
    Revision,
    Revisions,
    State,
)
from amphora_agent.balancer.state import File, differing
from amphora_agent.balancer.values import ObjectId
from amphora_agent.errors import AgentError, NotFound
from amphora_agent.layout import is_object_id
from amphora_agent.operations import inventory, loadbalancer
from amphora_agent.operations.context import Context


def lb_ids(context: Context) -> list[str]:
    """Load balancers that have a revision, in order."""
    found = context.settings.layout.revisions_dir("").glob("*/*.json")
    return sorted({path.parent.name for path in found if is_object_id(path.parent.name)})


def numbers(context: Context, lb_id: str) -> list[int]:
    """Numbers of the revisions that are kept, the newest first."""
    found = context.settings.layout.revisions_dir(lb_id).glob("*.json")
    return sorted((int(path.stem) for path in found if path.stem.isdecimal()), reverse=True)


def read(context: Context, lb_id: str, number: int) -> Revision:
    """One revision.

    Raises:
        NotFound: there is none of that number.
        AgentError: it cannot be read.
    """
    path = context.settings.layout.revision(lb_id, number)
    found = context.disk.read(path)
    if found is None:
        raise NotFound("Revision Not Found", f"load balancer {lb_id} has no revision {number}")
    try:
        return revision_of.decode(found[0])
    except msgspec.MsgspecError as exc:
        raise AgentError(
            f"{path} cannot be read", f"{exc}; PUT the load balancer again, or remove the file"
        ) from exc


def last(context: Context, lb_id: str) -> Revision | None:
    """The newest revision; None when API 2.0 has not made one.

    Raises:
        AgentError: it cannot be read.
    """
    found = numbers(context, lb_id)
    return read(context, lb_id, found[0]) if found else None


def state(context: Context, revision: Revision) -> tuple[State, tuple[str, ...]]:
    """How the files stand to a revision, and those that differ."""
    wanted = {Path(path): sha256 for path, sha256 in revision.files.items()}
    found = files(context, wanted)
    differ = differing(wanted, found)
    names = tuple(map(str, differ))
    if not differ:
        return State.ACTIVE, names
    certs = context.settings.layout.certs
    if all(path.is_relative_to(certs) and path not in found for path in differ):
        return State.CERTIFICATES_GONE, names
    return State.SUPERSEDED, names


def get(context: Context, lb_id: str) -> Current:
    """A load balancer.

    Raises:
        NotFound: API 2.0 has not made it.
    """
    found = last(context, lb_id)
    if found is None:
        hint = f"there is no revision of {lb_id}"
        if loadbalancer.is_configured(context, lb_id):
            hint = f"{lb_id} came by API 1.0; a PUT takes it over"
        raise NotFound("Load Balancer Not Found", hint)
    return current(context, found)


def listing(context: Context) -> LoadBalancers:
    """Every load balancer, whichever way it came."""
    made = {lb_id: last(context, lb_id) for lb_id in lb_ids(context)}
    return LoadBalancers(
        loadbalancers=tuple(
            _known(context, lb_id, made.get(lb_id))
            for lb_id in sorted({*made, *inventory.haproxy_ids(context)})
        )
    )


def history(context: Context, lb_id: str) -> Revisions:
    """The revisions that are kept, the newest first.

    Raises:
        NotFound: API 2.0 has not made the load balancer.
    """
    found = numbers(context, lb_id)
    if not found:
        raise NotFound("Load Balancer Not Found", f"there is no revision of {lb_id}")
    return Revisions(
        revisions=tuple(revision_of.summary(read(context, lb_id, number)) for number in found)
    )


def past(context: Context, lb_id: str, number: int) -> Revision:
    """One revision, without secrets.

    Raises:
        NotFound: there is none of that number.
    """
    found = read(context, lb_id, number)
    return replace(found, document=revision_of.public(found.document))


def current(context: Context, revision: Revision, *, warnings: tuple[str, ...] = ()) -> Current:
    """A load balancer as it may be shown."""
    found, differs = state(context, revision)
    return replace(revision_of.served(revision, warnings=warnings), state=found, differs=differs)


def files(context: Context, paths: Iterable[Path]) -> dict[Path, File]:
    """What lies at some paths."""
    certs = context.settings.layout.certs
    found = {}
    for path in paths:
        read = context.disk.read(path)
        if read is not None:
            content, mode = read
            # Lists of certificates lie there as well.
            secret = path.is_relative_to(certs) and b"-----BEGIN" in content
            found[path] = File(content=content, mode=mode, secret=secret)
    return found


def _known(context: Context, lb_id: str, found: Revision | None) -> Known:
    if found is None:
        return Known(id=ObjectId(lb_id), api="1.0")
    return Known(
        id=ObjectId(lb_id),
        api="2.0",
        revision=found.revision,
        state=state(context, found)[0],
    )
