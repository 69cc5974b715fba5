# SPDX-License-Identifier: Apache-2.0
"""The server side of mutual TLS."""

import logging
import os
import re
import ssl
from pathlib import Path

from amphora_agent.errors import ConfigError
from amphora_agent.settings import TlsVersion

LOG = logging.getLogger(__name__)

# Versions below 1.2 are accepted as a setting, because Octavia offers them, and raised to 1.2,
# which every controller since Train speaks.
_MINIMUM = {TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3}

_Stamp = tuple[tuple[int, int, int], ...]


class ServerContexts:
    """The TLS context for the next connection, made anew whenever one of its files changes.

    Args:
        certificate: PEM file with the certificate and then its unencrypted key.
        client_ca: PEM file with the CAs whose certificates clients may present.
        minimum: lowest TLS version.
    """

    def __init__(self, certificate: Path, client_ca: Path, minimum: TlsVersion) -> None:
        self._certificate = certificate
        self._client_ca = client_ca
        self._minimum = _MINIMUM.get(minimum, ssl.TLSVersion.TLSv1_2)
        self._stamp: _Stamp | None = None
        self._context: ssl.SSLContext | None = None
        self._told = ""

    def current(self) -> ssl.SSLContext:
        """The context for a handshake now.

        While the files on disk are unusable, the last usable ones go on serving.

        Raises:
            ConfigError: a file is missing or unusable, and there was never a usable one.
        """
        try:
            stamp = (_stamp(self._certificate), _stamp(self._client_ca))
            if self._context is None or stamp != self._stamp:
                # Noted before loading, so that unusable files are not read for every connection.
                self._stamp = stamp
                self._context = self._load()
                self._told = ""
        except ConfigError as exc:
            if self._context is None:
                raise
            if str(exc) != self._told:
                self._told = str(exc)
                LOG.error("The last usable certificates go on serving: %s", exc)
        return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._minimum
        context.verify_mode = ssl.CERT_REQUIRED
        # Controllers never resume a session, and a client that left at once would not be seen.
        context.num_tickets = 0
        try:
            context.load_cert_chain(self._certificate, password=_no_passphrase)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(
                f"{self._certificate} is not usable",
                f"{_reason(exc)}; right would be a PEM certificate, then its private key",
            ) from exc
        try:
            context.load_verify_locations(self._client_ca)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(
                f"{self._client_ca} is not usable",
                f"{_reason(exc)}; right would be one or more CA certificates in PEM",
            ) from exc
        return context


def check_server_certificate(pem: bytes) -> None:
    """Check that the API could serve with a certificate and key now.

    A handshake with itself shows it, and so needs no library that reads certificates: a verifier
    that trusts this very certificate looks at its dates and at what it may be used for. One that
    becomes valid later is taken: the controller dates it by its own clock, by which it will also
    judge it, and the amphora's may be behind.

    Raises:
        ConfigError: it could not; `details` says why.
    """
    found = _CERTIFICATE.search(pem)
    if not found:
        raise _refused("there is no certificate in it")
    if not _PRIVATE_KEY.search(pem):
        raise _refused("there is no private key in it")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        _load_from_memory(server, pem)
        client.load_verify_locations(cadata=found[0].decode())
        _shake_hands(server, client)
    except ssl.SSLCertVerificationError as exc:
        if exc.verify_code != _NOT_YET_VALID:
            raise _refused(f"the {exc.verify_message}") from exc
        LOG.warning("The new server certificate is not yet valid by the clock of this amphora")
    except ssl.SSLError as exc:
        raise _refused(_why_unusable(exc, pem)) from exc


def check_pair(pem: bytes) -> None:
    """Check that a PEM text begins with a certificate and holds its unencrypted key.

    Raises:
        ConfigError: it does not; `details` says why.
    """
    if not _CERTIFICATE.search(pem):
        raise _refused("there is no certificate in it")
    if not _PRIVATE_KEY.search(pem):
        raise _refused("there is no private key in it")
    try:
        _load_from_memory(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pem)
    except ssl.SSLError as exc:
        raise _refused(_why_unusable(exc, pem)) from exc


# X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL, which looks at the dates after everything else.
_NOT_YET_VALID = 9

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[\x20-\x7e\s]+?-----END CERTIFICATE-----")
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def _load_from_memory(context: ssl.SSLContext, pem: bytes) -> None:
    """load_cert_chain takes paths only, and a key that is not accepted should touch no disk."""
    handle = os.memfd_create("server.pem")
    try:
        os.write(handle, pem)
        context.load_cert_chain(f"/proc/self/fd/{handle}", password=_no_passphrase)
    finally:
        os.close(handle)


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    # Each end speaks once or twice.
    for end in ends * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue


def _why_unusable(error: ssl.SSLError, pem: bytes) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the private key does not belong to the first certificate"
    if b"ENCRYPTED" in pem:
        return "the private key is encrypted"
    return f"it is not usable: {_reason(error)}"


def _refused(why: str) -> ConfigError:
    return ConfigError(
        "Invalid server certificate",
        f"{why}; right would be a valid PEM certificate, then its unencrypted private key",
    )


def _no_passphrase() -> str:
    # Without an answer OpenSSL would ask for one at the terminal.
    return ""


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as exc:
        raise ConfigError(
            f"{path} is missing", f"{exc.strerror}: Octavia injects it through the config drive"
        ) from exc
    return status.st_ino, status.st_mtime_ns, status.st_size


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return error.strerror or str(error)
