# SPDX-License-Identifier: Apache-2.0
"""What is wrong, or soon will be, with the certificates of a deployment."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from amphora_controller.certificates import store
from amphora_controller.errors import ControllerError

_RSA_BITS_MIN = 2048


class Severity(IntEnum):
    """How bad it is; the values are the exit codes that monitoring plug-ins use."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: a file, or the common name of a certificate in one.
        message: what was found, and what to do about it when it is bad.
        days_left: until a certificate expires; None where nothing expires.
    """

    severity: Severity
    subject: str
    message: str
    days_left: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """From how many days before the end a certificate is told of."""

    warning_days: int = 30
    critical_days: int = 7


class Source(Protocol):
    """Where the files are; see certificates.store.Store for what each of them is."""

    @property
    def server_certificate(self) -> Path:
        """[certificates] ca_certificate."""

    @property
    def server_key(self) -> Path:
        """[certificates] ca_private_key."""

    @property
    def server_chain(self) -> Path:
        """[haproxy_amphora] server_ca."""

    @property
    def client_chain(self) -> Path:
        """[controller_worker] client_ca."""

    @property
    def client_bundle(self) -> Path:
        """[haproxy_amphora] client_cert."""

    @property
    def services(self) -> tuple[Path, ...]:
        """All of them, each once."""


def findings(
    source: Source, *, now: datetime.datetime, limits: Limits, passphrase: str | None
) -> list[Finding]:
    """Look at everything that Octavia's services read.

    Args:
        now: aware.
        passphrase: of the authority's key; None leaves the key unopened.
    """
    found: list[Finding] = []
    chains: dict[Path, tuple[x509.Certificate, ...]] = {}
    for path in source.services:
        if path == source.server_key:
            continue
        try:
            chains[path] = store.read_certificates(path)
        except ControllerError as exc:
            found.append(Finding(severity=Severity.CRITICAL, subject=str(path), message=str(exc)))
            continue
        renewed_by = "renew" if path == source.client_bundle else "roll-ca"
        found += [
            _expiry(path, certificate, now, limits, renewed_by) for certificate in chains[path]
        ]
    for path, certificates in chains.items():
        # In a bundle the certificates are not each other's issuers.
        found += [
            Finding(severity=Severity.WARNING, subject=str(path), message=weakness)
            for certificate in certificates
            for weakness in _weaknesses(certificate, authority=path != source.client_bundle)
        ]
    found += _relations(source, chains, passphrase)
    return found


def worst(found: list[Finding]) -> Severity:
    """The severity that decides."""
    return max((finding.severity for finding in found), default=Severity.OK)


def textfile(found: list[Finding]) -> str:
    """The days left, in Prometheus' text format, for the collector of text files."""
    lines = [
        "# HELP octavia_certificate_days_left Days until a certificate expires.",
        "# TYPE octavia_certificate_days_left gauge",
    ]
    lines += [
        f'octavia_certificate_days_left{{certificate="{_escaped(finding.subject)}"}} '
        f"{finding.days_left}"
        for finding in found
        if finding.days_left is not None
    ]
    lines += [
        "# HELP octavia_certificates_severity 0 all is well, 1 something will be wrong, 2 it is.",
        "# TYPE octavia_certificates_severity gauge",
        f"octavia_certificates_severity {int(worst(found))}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _expiry(
    path: Path,
    certificate: x509.Certificate,
    now: datetime.datetime,
    limits: Limits,
    renewed_by: str,
) -> Finding:
    """How long a certificate is valid; `renewed_by` is the `amphoractl certs` command."""
    left = certificate.not_valid_after_utc - now
    days = left.days
    severity = Severity.OK
    message = f"valid for {days} days more"
    if certificate.not_valid_before_utc > now:
        severity = Severity.CRITICAL
        begin = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        message = f"not valid before {begin}, is the clock of this machine right?"
    elif left <= datetime.timedelta(0):
        severity = Severity.CRITICAL
        message = f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    elif days < limits.critical_days:
        severity = Severity.CRITICAL
    elif days < limits.warning_days:
        severity = Severity.WARNING
    if severity is not Severity.OK:
        verb = "make a new one" if renewed_by == "renew" else "roll the authority"
        message += f"; {verb}: amphoractl certs {renewed_by}"
    name = certificate.subject.rfc4514_string()
    return Finding(
        severity=severity, subject=f"{path.name}: {name}", message=message, days_left=days
    )


def _weaknesses(certificate: x509.Certificate, *, authority: bool) -> Iterator[str]:
    """What a strict reader of RFC 5280 refuses, and keys that are too small."""
    name = certificate.subject.rfc4514_string()
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _RSA_BITS_MIN:
            yield f"{name} has an RSA key of only {key.key_size} bits"
    elif not isinstance(key, ec.EllipticCurvePublicKey):
        yield f"{name} has neither an RSA nor an ECDSA key"
    needed: list[type[x509.ExtensionType]] = [x509.KeyUsage, x509.SubjectKeyIdentifier]
    if certificate.issuer != certificate.subject:
        needed.append(x509.AuthorityKeyIdentifier)
    for kind in needed:
        if _extension(certificate, kind) is None:
            yield f"{name} lacks the extension {kind.__name__}, and Python 3.13 refuses it"
    constraints = _extension(certificate, x509.BasicConstraints)
    is_authority = isinstance(constraints, x509.BasicConstraints) and constraints.ca
    if authority and not is_authority:
        yield f"{name} is not an authority's certificate"
    if not authority and is_authority:
        yield f"{name} is an authority's certificate, which controllers must not show"


def _relations(
    source: Source, chains: dict[Path, tuple[x509.Certificate, ...]], passphrase: str | None
) -> Iterator[Finding]:
    signer = chains.get(source.server_certificate, ())
    server_chain = chains.get(source.server_chain, ())
    client_chain = chains.get(source.client_chain, ())
    bundle = chains.get(source.client_bundle, ())
    checks = (
        (
            source.server_chain,
            bool(signer and server_chain) and signer[0] not in server_chain,
            f"does not name the authority in {source.server_certificate.name}: controllers would "
            "refuse every new amphora",
        ),
        (
            source.server_chain,
            bool(server_chain) and not _reaches_root(server_chain),
            "holds no root that signed its first certificate",
        ),
        (
            source.client_chain,
            bool(client_chain) and not _reaches_root(client_chain),
            "holds no root that signed its first certificate",
        ),
        (
            source.client_bundle,
            bool(bundle and client_chain)
            and not any(_is_issued_by(bundle[0], issuer) for issuer in client_chain),
            f"is signed by none of the authorities in {source.client_chain.name}: amphorae would "
            "refuse every controller",
        ),
        (
            source.client_bundle,
            bool(bundle) and not _may_be_client(bundle[0]),
            "may not be used by TLS clients (extended key usage)",
        ),
        (
            source.client_chain,
            bool(set(client_chain) & set(server_chain)),
            f"shares an authority with {source.server_chain.name}: an amphora's certificate could "
            "act as a controller's",
        ),
    )
    for path, is_wrong, message in checks:
        if is_wrong:
            yield Finding(severity=Severity.CRITICAL, subject=str(path), message=message)
    yield from _keys(source, passphrase)


def _keys(source: Source, passphrase: str | None) -> Iterator[Finding]:
    pairs: list[tuple[Path, Path, str | None]] = [
        (source.client_bundle, source.client_bundle, None)
    ]
    if passphrase is not None:
        pairs.append((source.server_certificate, source.server_key, passphrase))
    for certificate, key, words in pairs:
        try:
            store.read_issued(certificate, key, words)
        except ControllerError as exc:
            yield Finding(severity=Severity.CRITICAL, subject=str(key), message=str(exc))
    for path in (source.client_bundle, source.server_key):
        if path.exists() and path.stat().st_mode & 0o077:
            yield Finding(
                severity=Severity.WARNING,
                subject=str(path),
                message="others than its owner can read this key: chmod 600",
            )


def _reaches_root(chain: tuple[x509.Certificate, ...]) -> bool:
    """Whether the first certificate leads to one that signed itself."""
    current = chain[0]
    for _ in chain:
        if _is_issued_by(current, current):
            return True
        issuer = next((other for other in chain if _is_issued_by(current, other)), None)
        if issuer is None:
            return False
        current = issuer
    return _is_issued_by(current, current)


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _may_be_client(certificate: x509.Certificate) -> bool:
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    return usage is None or (
        isinstance(usage, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH in usage
    )


def _extension(
    certificate: x509.Certificate, kind: type[x509.ExtensionType]
) -> x509.ExtensionType | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
