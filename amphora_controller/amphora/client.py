# SPDX-License-Identifier: Apache-2.0
"""A client of the amphora's API that says at which step a request failed, and why.

Octavia logs one line for everything that can go wrong between a controller and an amphora. Here
each step has causes of its own: the way there, the TCP connection, the amphora's certificate, the
controllers' certificate, HTTP.
"""

import errno
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography import x509

from amphora_controller.errors import ControllerError

PORT = 9443

# Answers with states of a thousand listeners have some hundred kilobytes.
_ANSWER_MAX_BYTES = 64 * 1024 * 1024

# X509_V_ERR_* of OpenSSL.
_NOT_YET_VALID = 9
_EXPIRED = 10


class Hop(StrEnum):
    """A step from a controller to an answer of the amphora."""

    FILES = "files"
    ROUTE = "route"
    TCP = "tcp"
    SERVER_CERTIFICATE = "amphora's certificate"
    CLIENT_CERTIFICATE = "controller's certificate"
    HTTP = "http"


class Failed(ControllerError):
    """A request did not get an answer.

    Attributes:
        hop: the step at which it failed; those before it went well.
    """

    def __init__(self, hop: Hop, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.hop = hop


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer of the amphora; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            Failed: it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError as exc:
            raise Failed(
                Hop.HTTP,
                f"the answer with status {self.status} is not JSON",
                "is that an amphora, and is its agent the one of this image?",
            ) from exc


@dataclass(frozen=True, kw_only=True, slots=True)
class Amphora:
    """Where an amphora is and how it is asked.

    Attributes:
        address: on the management network.
        trust: file with the authorities that sign amphorae ([haproxy_amphora] server_ca).
        identity: file with the controllers' key and certificate ([haproxy_amphora] client_cert).
        amphora_id: the UUID that the amphora's certificate must name; None takes any amphora.
        timeout_s: for each step.
        is_verified: False takes whoever answers; only to find out why an amphora is refused.
    """

    address: str
    trust: Path
    identity: Path
    amphora_id: str | None = None
    port: int = PORT
    timeout_s: float = 10.0
    is_verified: bool = True

    def connect(self) -> "Session":
        """Shake hands.

        Raises:
            Failed: see there. The amphora's verdict on the controllers' certificate may come with
                the first answer only (TLS 1.3).
        """
        context = self._context()
        sock = self._dial()
        try:
            session = Session(context.wrap_socket(sock), self.address)
        except (OSError, ValueError) as exc:
            sock.close()
            raise _of_handshake(exc) from exc
        if self.amphora_id is not None and self.amphora_id not in session.names:
            with session:
                raise another_amphora(
                    f"the certificate of {self.address}", session.names, self.amphora_id
                )
        return session

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """One request on a connection of its own.

        Args:
            headers: see Session.request.
            timeout_s: for the answer, if it may take longer than other steps.

        Raises:
            Failed: there was no answer; an answer with an error status is one.
        """
        with self.connect() as session:
            return session.request(method, path, body, headers=headers, timeout_s=timeout_s)

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The name in the certificate is the amphora's id, which is compared where it is known.
        context.check_hostname = False
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self.is_verified:
            context.verify_mode = ssl.CERT_NONE
        try:
            path = self.trust
            context.load_verify_locations(path)
            path = self.identity
            # With a passphrase at hand OpenSSL does not ask for one on the terminal.
            context.load_cert_chain(path, password="none")  # noqa: S106
        except (OSError, ValueError) as exc:
            raise Failed(
                Hop.FILES, f"{path} cannot be used", f"{exc}; amphoractl certs check says more"
            ) from exc
        return context

    def _dial(self) -> socket.socket:
        try:
            return socket.create_connection((self.address, self.port), self.timeout_s)
        except OSError as exc:
            raise _of_connection(exc, self.address, self.port) from exc


class Session:
    """A TLS session with an amphora; a context manager that ends it."""

    def __init__(self, sock: ssl.SSLSocket, address: str) -> None:
        self._sock = sock
        self._address = address

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    @property
    def tls_version(self) -> str:
        """Such as TLSv1.3."""
        return self._sock.version() or ""

    @property
    def certificate(self) -> x509.Certificate:
        """The amphora's."""
        return x509.load_der_x509_certificate(self._sock.getpeercert(binary_form=True) or b"")

    @property
    def names(self) -> tuple[str, ...]:
        """The amphora's UUID as its certificate has it: the DNS names of subjectAltName."""
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return ()
        return tuple(found.value.get_values_for_type(x509.DNSName))

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """One request; the amphora may close the session after it.

        Args:
            headers: besides those that every request has.
            timeout_s: see Amphora.request.

        Raises:
            Failed: there was no whole answer.
        """
        connection = http.client.HTTPSConnection(self._address)
        connection.sock = self._sock
        if timeout_s is not None:
            self._sock.settimeout(timeout_s)
        try:
            connection.request(method, path, body, {"Connection": "close", **(headers or {})})
            response = connection.getresponse()
            content = response.read(_ANSWER_MAX_BYTES + 1)
            if response.length and len(content) <= _ANSWER_MAX_BYTES:
                raise http.client.IncompleteRead(content, response.length)
        except (OSError, http.client.HTTPException) as exc:
            raise _of_answer(self._last_word(exc)) from exc
        if len(content) > _ANSWER_MAX_BYTES:
            raise Failed(Hop.HTTP, f"the answer has over {_ANSWER_MAX_BYTES} bytes", "ask for less")
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=headers, body=content)

    def _last_word(self, exc: Exception) -> Exception:
        """Why it ended: who turns a client away closes while that one still sends its body."""
        if isinstance(exc, ConnectionError | ssl.SSLEOFError):
            try:
                self._sock.recv(1)
            except OSError as said:
                return said
        return exc


def another_amphora(certificate: str, names: tuple[str, ...], amphora_id: str) -> Failed:
    """A certificate that names somebody else than who was meant.

    Args:
        certificate: how the message calls it.
    """
    return Failed(
        Hop.SERVER_CERTIFICATE,
        f"{certificate} names {', '.join(names) or 'nothing'}, not {amphora_id}",
        "another amphora has this address: compare `openstack loadbalancer amphora list`",
    )


def _of_connection(exc: OSError, address: str, port: int) -> Failed:
    where = f"{address} port {port}"
    if isinstance(exc, ConnectionRefusedError):
        return Failed(
            Hop.TCP,
            f"{where} refuses connections",
            "the amphora is there, but its agent does not listen: it still boots, or waits for its "
            "files; `openstack console log show` of its server tells",
        )
    if isinstance(exc, TimeoutError):
        return Failed(
            Hop.TCP,
            f"no answer from {where}",
            "packets get lost: the security group of the amphora must let TCP 9443 in, o-hm0 must "
            "have the address and MAC address of its Neutron port, and the server must run",
        )
    if exc.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
        return Failed(
            Hop.ROUTE,
            f"there is no way to {address}: {exc.strerror}",
            "is o-hm0 up, and does it have an address on the management network? `ip address show "
            "o-hm0`",
        )
    return Failed(Hop.ROUTE, f"{where} cannot be connected to: {exc}", "is the address right?")


def _of_handshake(exc: Exception) -> Failed:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _of_verification(exc)
    if isinstance(exc, TimeoutError):
        return Failed(
            Hop.SERVER_CERTIFICATE,
            "the TLS handshake did not end in time",
            "small packets get through and large ones do not? Compare the MTU of o-hm0 with that "
            "of the management network",
        )
    reason = getattr(exc, "reason", None) or ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
        return Failed(
            Hop.SERVER_CERTIFICATE,
            "the other side does not speak TLS",
            "something else than an amphora's agent listens there",
        )
    if reason in ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL"):
        return Failed(
            Hop.SERVER_CERTIFICATE,
            "no common version of TLS",
            "[amphora_agent] agent_tls_protocol is the lowest version of both sides",
        )
    return _of_alert(exc) or Failed(
        Hop.SERVER_CERTIFICATE, f"the TLS handshake failed: {exc}", "the agent's journal tells why"
    )


def _of_verification(exc: ssl.SSLCertVerificationError) -> Failed:
    said = exc.verify_message
    if exc.verify_code == _EXPIRED:
        hint = (
            "housekeeping should have renewed it: does octavia-housekeeping run? A failover gives "
            "the amphora a new one"
        )
    elif exc.verify_code == _NOT_YET_VALID:
        hint = "the clocks of this machine and of the controller that signed it differ"
    else:
        hint = "[haproxy_amphora] server_ca did not sign it: amphoractl certs check"
    return Failed(Hop.SERVER_CERTIFICATE, f"the amphora's certificate is refused: {said}", hint)


def _of_alert(exc: Exception) -> Failed | None:
    """What an amphora that turned us away said, if it did."""
    reason = str(getattr(exc, "reason", None) or "")
    _, alert, kind = reason.partition("_ALERT_")
    if not alert:
        return None
    causes = {
        "UNKNOWN_CA": (
            "the amphora does not know the authority that signed the controllers' certificate",
            "[controller_worker] client_ca was another one when the amphora was made: put the old "
            "one back, or fail the amphora over",
        ),
        "CERTIFICATE_EXPIRED": (
            "the controllers' certificate has expired",
            "amphoractl certs renew, then restart Octavia's services",
        ),
        "CERTIFICATE_REQUIRED": (
            "the amphora got no certificate from here",
            "[haproxy_amphora] client_cert must hold a key and a certificate",
        ),
    }
    message, hint = causes.get(
        kind,
        (
            f"the amphora refuses the controllers' certificate ({kind.lower().replace('_', ' ')})",
            "amphoractl certs check says what is wrong with it",
        ),
    )
    return Failed(Hop.CLIENT_CERTIFICATE, message, hint)


def _of_answer(exc: Exception) -> Failed:
    if failed := _of_alert(exc):
        return failed
    if isinstance(exc, TimeoutError):
        return Failed(
            Hop.HTTP, "the amphora does not answer in time", "is it out of memory or CPU time?"
        )
    if isinstance(exc, ConnectionError | ssl.SSLEOFError):
        return Failed(
            Hop.CLIENT_CERTIFICATE,
            "the amphora closed the connection without an answer",
            "it may have refused the controllers' certificate: its agent's journal tells",
        )
    return Failed(Hop.HTTP, f"the answer cannot be read: {exc}", "is that an amphora?")
