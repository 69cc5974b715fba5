# SPDX-License-Identifier: Apache-2.0
"""A plain mutual-TLS client, for what the driver cannot try: being refused, and being early."""

import http.client
import json
import socket
import ssl
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tests.support.netns import Namespace

PORT = 9443

_OLD = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)


class RefusedError(Exception):
    """The amphora ended the TLS session without a whole answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An HTTP response; names of headers are in lower case.

    Attributes:
        certificate: the amphora's, in DER.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    certificate: bytes

    def json(self) -> Any:
        """The body as JSON, which every answer but a configuration is."""
        assert self.headers["content-type"] == "application/json", self.headers
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """Someone who asks an amphora.

    Attributes:
        trust: CA certificates that the amphora's certificate must chain to.
        identity: key and certificate of the client; None sends no certificate.
    """

    inside: Namespace
    address: IPv4Address
    amphora_id: uuid.UUID
    trust: Path
    identity: Path | None
    timeout_s: float = 30

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one GET; see `request`."""
        answer = self.request("GET", path)
        return answer.status, answer.body.decode()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        tls: ssl.TLSVersion | None = None,
    ) -> Answer:
        """One request on a connection of its own; as Octavia, without SNI, the UUID as the name.

        Args:
            headers: besides those that every request has.
            tls: the only TLS version that the client speaks; None leaves it the choice.

        Raises:
            RefusedError: the amphora turned the client away, or ended in the middle of the answer.
            OSError: there is no connection to the amphora.
        """
        connection = http.client.HTTPSConnection(
            str(self.address), PORT, timeout=self.timeout_s, context=self._context(tls)
        )
        try:
            with self.inside.entered():
                connection.connect()
            certificate = self._certificate(connection)
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(
                status=response.status,
                headers=found,
                body=response.read(),
                certificate=certificate,
            )
        except (
            ssl.SSLError,
            ConnectionResetError,
            BrokenPipeError,
            http.client.HTTPException,
        ) as exc:
            raise RefusedError(str(exc)) from exc
        finally:
            connection.close()

    def dial(self) -> socket.socket:
        """A TCP connection without a word on it."""
        with self.inside.entered():
            sock = socket.create_connection((str(self.address), PORT), self.timeout_s)
        # As http.client: what is sent is there, not held back until the amphora acknowledges.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def session(self, *, tls: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
        """A TLS session without a request on it.

        Raises:
            RefusedError: the amphora turned the client away. With TLS 1.3 that may show only when
                something is read.
        """
        sock = self.dial()
        try:
            return self._context(tls).wrap_socket(sock)
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as exc:
            sock.close()
            raise RefusedError(str(exc)) from exc

    def _context(self, tls: ssl.TLSVersion | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.trust))
        context.check_hostname = False  # the name is not the address, see _certificate
        if tls is not None:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                context.minimum_version = context.maximum_version = tls
        if tls in _OLD:
            # Otherwise OpenSSL would not even offer it, and the amphora had nothing to refuse.
            context.set_ciphers("ALL:@SECLEVEL=0")
        if self.identity:
            context.load_cert_chain(self.identity)
        return context

    def _certificate(self, connection: http.client.HTTPSConnection) -> bytes:
        """The amphora's certificate in DER, after a look at its name."""
        assert isinstance(connection.sock, ssl.SSLSocket)
        certificate = connection.sock.getpeercert() or {}
        assert certificate.get("subjectAltName") == (("DNS", str(self.amphora_id)),)
        return connection.sock.getpeercert(binary_form=True) or b""
