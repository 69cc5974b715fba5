# SPDX-License-Identifier: Apache-2.0
"""What happens to the certificates of a deployment over the years.

An authority is rolled in three steps, between which services are restarted and amphorae are
renewed, so that at no time anybody meets a certificate that he does not trust: the new authority is
trusted (`begin`), it signs (`use`), the old one is no longer trusted (`finish`). A step that is
repeated changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from amphora_controller.certificates import issue, store
from amphora_controller.certificates.issue import Issued, Purpose, Recipe, Subject
from amphora_controller.certificates.store import Store
from amphora_controller.errors import ControllerError


@dataclass(frozen=True, kw_only=True, slots=True)
class Lifetimes:
    """For how many days certificates are valid."""

    root_days: int = 7300
    intermediate_days: int = 3650
    controller_days: int = 1825


class Step(StrEnum):
    """A step of rolling an authority."""

    BEGIN = "begin"
    USE = "use"
    FINISH = "finish"


def create(target: Store, recipe: Recipe, lifetimes: Lifetimes, passphrase: str) -> bool:
    """Make both authorities and the controllers' certificate; False when they are there already.

    Raises:
        ControllerError: some of the files are there and others are not; nothing was changed.
    """
    if is_made(target):
        return False
    # What a run that was broken off has left is nobody's yet.
    unfinished = _unfinished(target)
    target.write({unfinished: b""})
    target.write(_everything(target, recipe, lifetimes, passphrase))
    unfinished.unlink()
    return True


def is_made(target: Store) -> bool:
    """Whether `create` has nothing to do.

    Raises:
        ControllerError: see create.
    """
    if _unfinished(target).exists():
        return False
    there = [path for path in target.all_files if path.exists()]
    # A set made by hand has no roots' keys, and is whole without.
    if set(target.services) <= set(there):
        return True
    if there:
        missing = next(path for path in target.services if not path.exists())
        raise ControllerError(
            f"{target.directory} is not empty, but {missing.name} is missing",
            "put it back from your backup, or move the directory away and make all of it anew",
        )
    return False


def subject(source: Store) -> Subject:
    """The name, less the common name, that the authorities in use have.

    Raises:
        ControllerError: the file of the server's authority cannot be read.
    """
    name = store.read_certificates(source.server_certificate)[0].subject

    def part(kind: x509.ObjectIdentifier) -> str:
        return "".join(str(attribute.value) for attribute in name.get_attributes_for_oid(kind)[:1])

    return Subject(
        country=part(NameOID.COUNTRY_NAME),
        state=part(NameOID.STATE_OR_PROVINCE_NAME),
        locality=part(NameOID.LOCALITY_NAME),
        organization=part(NameOID.ORGANIZATION_NAME),
        unit=part(NameOID.ORGANIZATIONAL_UNIT_NAME),
    )


def renew_controller(target: Store, recipe: Recipe, lifetimes: Lifetimes, passphrase: str) -> None:
    """A new key and certificate for controllers, signed by the authority that amphorae know.

    Raises:
        ControllerError: the authority's files are unreadable, or the passphrase is wrong.
    """
    signer = store.read_issued(target.client_chain, target.client_key, passphrase)
    fresh = issue.controller(recipe, days=lifetimes.controller_days, issuer=signer)
    target.write({target.client_bundle: _bundle(fresh)})


def roll(
    target: Store,
    purpose: Purpose,
    step: Step,
    *,
    recipe: Recipe,
    lifetimes: Lifetimes,
    passphrase: str,
) -> bool:
    """Do one step of rolling an authority; False when it was done before.

    Raises:
        ControllerError: the step before it was not done, or files are unreadable.
    """
    new = _New(target, purpose)
    if step is Step.BEGIN:
        return _begin(target, new, recipe, lifetimes, passphrase)
    if step is Step.USE:
        return _use(target, new, recipe, lifetimes, passphrase)
    return _finish(target, new)


@dataclass(frozen=True, slots=True)
class _New:
    """Where an authority waits that is to replace the one in use."""

    target: Store
    purpose: Purpose

    @property
    def chain(self) -> Path:
        return self._file("chain.cert")

    @property
    def key(self) -> Path:
        return self._file("ca.key")

    @property
    def root_key(self) -> Path:
        return self._file("root_ca.key")

    @property
    def trusted(self) -> Path:
        """The file that names whom the other side trusts."""
        if self.purpose is Purpose.SERVER:
            return self.target.server_chain
        return self.target.client_chain

    @property
    def signer_key(self) -> Path:
        if self.purpose is Purpose.SERVER:
            return self.target.server_key
        return self.target.client_key

    def is_used(self) -> bool:
        """Whether the new authority signs already."""
        return self.signer_key.exists() and self.signer_key.read_bytes() == self.key.read_bytes()

    def _file(self, kind: str) -> Path:
        return self.target.directory / "private" / f"new_{self.purpose}_{kind}.pem"


def _begin(target: Store, new: _New, recipe: Recipe, lifetimes: Lifetimes, passphrase: str) -> bool:
    old = store.read_certificates(new.trusted)
    if not new.chain.exists():
        root = issue.root(new.purpose, recipe, days=lifetimes.root_days)
        signer = issue.intermediate(
            new.purpose, recipe, days=lifetimes.intermediate_days, issuer=root
        )
        # The chain is written last: with it the new authority is there.
        target.write(
            {
                new.root_key: root.key_pem(passphrase),
                new.key: signer.key_pem(passphrase),
                new.chain: signer.pem + root.pem,
            }
        )
    fresh = store.read_certificates(new.chain)
    both = _without_repeats((*old, *fresh))
    if len(both) == len(old):
        return False
    # The old one first: controllers' files name the signing authority by its place.
    target.write({new.trusted: store.pem(both)})
    return True


def _use(target: Store, new: _New, recipe: Recipe, lifetimes: Lifetimes, passphrase: str) -> bool:
    _expect_begun(new)
    fresh = store.read_certificates(new.chain)
    if not set(fresh) <= set(store.read_certificates(new.trusted)):
        raise ControllerError(
            f"{new.trusted} does not name the new authority", f"{Step.BEGIN} comes first"
        )
    if new.is_used():
        return False
    signer = store.read_issued(new.chain, new.key, passphrase)
    root = {
        target.root_certificate(new.purpose): store.pem(fresh[1:]),
        target.root_key(new.purpose): new.root_key.read_bytes(),
    }
    if new.purpose is Purpose.SERVER:
        target.write({**root, target.server_certificate: signer.pem})
    else:
        trusted = _without_repeats((*fresh, *store.read_certificates(new.trusted)))
        bundle = issue.controller(recipe, days=lifetimes.controller_days, issuer=signer)
        target.write(
            {**root, target.client_chain: store.pem(trusted), target.client_bundle: _bundle(bundle)}
        )
    # Last: it tells that the step is done.
    target.write({new.signer_key: new.key.read_bytes()})
    return True


def _finish(target: Store, new: _New) -> bool:
    if not new.chain.exists():
        return False
    if not new.is_used():
        raise ControllerError(
            f"the old {new.purpose} authority still signs", f"{Step.USE} comes first"
        )
    target.write({new.trusted: new.chain.read_bytes()})
    for path in (new.chain, new.key, new.root_key):
        path.unlink(missing_ok=True)
    return True


def _unfinished(target: Store) -> Path:
    """Is there while `create` writes."""
    return target.directory / "private" / "unfinished"


def _expect_begun(new: _New) -> None:
    if not new.chain.exists():
        raise ControllerError(
            f"there is no new {new.purpose} authority", f"{Step.BEGIN} comes first"
        )


def _without_repeats(certificates: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    return tuple(dict.fromkeys(certificates))


def _everything(
    target: Store, recipe: Recipe, lifetimes: Lifetimes, passphrase: str
) -> dict[Path, bytes]:
    made: dict[Path, bytes] = {}
    signers: dict[Purpose, Issued] = {}
    for purpose in Purpose:
        root = issue.root(purpose, recipe, days=lifetimes.root_days)
        signer = issue.intermediate(purpose, recipe, days=lifetimes.intermediate_days, issuer=root)
        signers[purpose] = signer
        made[target.root_key(purpose)] = root.key_pem(passphrase)
        made[target.root_certificate(purpose)] = root.pem
        chain = signer.pem + root.pem
        made[target.server_chain if purpose is Purpose.SERVER else target.client_chain] = chain
    bundle = issue.controller(
        recipe, days=lifetimes.controller_days, issuer=signers[Purpose.CLIENT]
    )
    return {
        **made,
        target.client_key: signers[Purpose.CLIENT].key_pem(passphrase),
        target.server_key: signers[Purpose.SERVER].key_pem(passphrase),
        target.server_certificate: signers[Purpose.SERVER].pem,
        target.client_bundle: _bundle(bundle),
    }


def _bundle(issued: Issued) -> bytes:
    return issued.key_pem(None) + issued.pem
