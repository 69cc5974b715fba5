# SPDX-License-Identifier: Apache-2.0
"""Where the certificates of a deployment lie.

The names are those that Octavia's own script gives, so that a deployment made by hand is read too:

| file | what | octavia.conf |
| --- | --- | --- |
| server_ca.cert.pem | intermediate that signs amphorae | certificates.ca_certificate |
| server_ca.key.pem | its key | certificates.ca_private_key |
| server_ca-chain.cert.pem | it and its root | haproxy_amphora.server_ca |
| client_ca.cert.pem | the other intermediate and its root | controller_worker.client_ca |
| client.cert-and-key.pem | controllers' key and certificate | haproxy_amphora.client_cert |
| private/ | what no service needs: the roots, the client intermediate's key | - |
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from amphora_agent.system import files
from amphora_controller.certificates.issue import Issued, PrivateKey, Purpose
from amphora_controller.errors import ControllerError

_PRIVATE_MODE = 0o600
_PUBLIC_MODE = 0o444
_DIRECTORY_MODE = 0o700
_PEM_CERTIFICATE = re.compile(
    b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """A directory of certificates.

    Attributes:
        directory: usually /etc/octavia/certs.
        owner: user and group id that its files get; None leaves them to who runs the command.
    """

    directory: Path
    owner: tuple[int, int] | None = None

    @property
    def server_certificate(self) -> Path:
        """The authority that signs amphorae."""
        return self.directory / "server_ca.cert.pem"

    @property
    def server_key(self) -> Path:
        """Its key, encrypted."""
        return self.directory / "server_ca.key.pem"

    @property
    def server_chain(self) -> Path:
        """What controllers check amphorae against."""
        return self.directory / "server_ca-chain.cert.pem"

    @property
    def client_chain(self) -> Path:
        """What amphorae check controllers against."""
        return self.directory / "client_ca.cert.pem"

    @property
    def client_bundle(self) -> Path:
        """What controllers show: key, then certificate."""
        return self.directory / "client.cert-and-key.pem"

    @property
    def client_key(self) -> Path:
        """Key of the authority that signs controllers, encrypted."""
        return self.directory / "private" / "client_ca.key.pem"

    def root_certificate(self, purpose: Purpose) -> Path:
        """The root of a chain."""
        return self.directory / "private" / f"{purpose}_root_ca.cert.pem"

    def root_key(self, purpose: Purpose) -> Path:
        """Its key, encrypted."""
        return self.directory / "private" / f"{purpose}_root_ca.key.pem"

    @property
    def services(self) -> tuple[Path, ...]:
        """What Octavia's services read."""
        return (
            self.server_certificate,
            self.server_key,
            self.server_chain,
            self.client_chain,
            self.client_bundle,
        )

    @property
    def all_files(self) -> tuple[Path, ...]:
        """Everything that is made."""
        roots = [
            path
            for purpose in Purpose
            for path in (self.root_certificate(purpose), self.root_key(purpose))
        ]
        return (*self.services, self.client_key, *roots)

    def write(self, contents: dict[Path, bytes]) -> None:
        """Put files in place, each in one step; those with keys are for the owner alone.

        Raises:
            ControllerError: a file cannot be written; the others before it are.
        """
        for path, data in contents.items():
            try:
                self._make_directory(path.parent)
                mode = _PRIVATE_MODE if b"PRIVATE KEY" in data else _PUBLIC_MODE
                files.write_atomic(path, data, mode=mode, owner=self.owner)
            except OSError as exc:
                raise ControllerError(
                    f"{path} cannot be written", exc.strerror or str(exc)
                ) from exc

    def _make_directory(self, path: Path) -> None:
        if not path.is_dir():
            files.make_directory(path)
            path.chmod(_DIRECTORY_MODE if path != self.directory else 0o755)
            if self.owner is not None:
                os.chown(path, *self.owner)


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Every certificate in a PEM file.

    Raises:
        ControllerError: there is no such file, or no certificate in it.
    """
    data = _read(path)
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError as exc:
        raise ControllerError(f"{path} holds no certificate that can be read", str(exc)) from exc
    return tuple(certificates)


def read_key(path: Path, passphrase: str | None) -> PrivateKey:
    """The private key in a PEM file.

    Raises:
        ControllerError: there is no such file, or the passphrase does not open it.
    """
    data = _PEM_CERTIFICATE.sub(b"", _read(path))
    try:
        key = serialization.load_pem_private_key(
            data, None if passphrase is None else passphrase.encode()
        )
    except (ValueError, TypeError) as exc:
        raise ControllerError(f"the key in {path} cannot be read", _why_no_key(exc)) from exc
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ControllerError(f"the key in {path} is neither RSA nor ECDSA", "make a new one")
    return key


def read_issued(certificate: Path, key: Path, passphrase: str | None) -> Issued:
    """A certificate (the first one of a file) and its key.

    Raises:
        ControllerError: a file cannot be read, or they do not belong together.
    """
    found = read_certificates(certificate)[0]
    private = read_key(key, passphrase)
    if private.public_key() != found.public_key():
        raise ControllerError(
            f"the key in {key} is not that of the certificate in {certificate}",
            "put back the files that were made together",
        )
    return Issued(certificate=found, key=private)


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Certificates as one PEM text."""
    return b"".join(
        certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ControllerError(f"{path} cannot be read", exc.strerror or str(exc)) from exc


def _why_no_key(exc: Exception) -> str:
    if isinstance(exc, TypeError):
        return "it is encrypted and no passphrase was given, or the other way round"
    return "the passphrase is wrong, or the file is not a PEM key"
