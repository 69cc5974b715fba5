# SPDX-License-Identifier: Apache-2.0
"""A sink that is an HTTP server: one POST for each event."""

import http.client
import json
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from amphora_controller.errors import ControllerError
from amphora_controller.watch.delivery import Untold
from amphora_controller.watch.store import Numbered

_AGAIN_S = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """POSTs each event as JSON.

    Any status of 200 to 299 takes it. Redirections do not: a POST that is redirected arrives
    without its body.

    Attributes:
        url: may hold a secret, and is never shown but for its host.
        deadline_s: for the whole exchange, but for the look-up of the name.
    """

    url: str = field(repr=False)
    deadline_s: float = 10.0
    name: str = "webhook"

    def __post_init__(self) -> None:
        """Refuse what is no URL of a web server.

        Raises:
            ControllerError: it is none.
        """
        if not _is_usable(self.url):
            raise ControllerError(
                "--webhook needs a URL of http or https, without a user and percent-encoded",
                "such as https://alarms.example/octavia",
            )

    def tell(self, event: Numbered) -> None:
        """See Sink."""
        request = urllib.request.Request(  # noqa: S310  # __post_init__ looked at the scheme
            self.url,
            json.dumps(event.document()).encode(),
            {"Content-Type": "application/json", "User-Agent": "amphoractl"},
            method="POST",
        )
        host = urlsplit(self.url).hostname
        with _deadline(self.deadline_s) as exchange:
            opener = urllib.request.build_opener(_NoRedirect, _Http(exchange), _Https(exchange))
            reason: object = None
            try:
                with opener.open(request, timeout=self.deadline_s):
                    pass
            except urllib.error.HTTPError as exc:
                exc.close()
                raise Untold(f"{host} answers with status {exc.code}") from exc
            except (OSError, http.client.HTTPException, UnicodeError) as exc:
                # UnicodeError: a name in a proxy's URL that cannot be a host's.
                reason = getattr(exc, "reason", None) or exc
            # http.client takes headers that were cut off for whole ones.
            if exchange.is_over:
                reason = f"no whole answer within {self.deadline_s:g} s"
            if reason is not None:
                raise Untold(f"{host}: {reason}")


def _is_usable(url: str) -> bool:
    """Whether it can be asked; what comes of it later are errors of the network."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and " " not in url
    named = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    return is_plain and named


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes an error of every redirection."""

    def redirect_request(self, *_args: Any) -> None:
        """Follow none."""


@dataclass(slots=True)
class _Exchange:
    """The connections of one exchange, and whether its time is over."""

    connections: list[http.client.HTTPConnection] = field(default_factory=list)
    is_over: bool = False

    def noted(
        self, kind: type[http.client.HTTPConnection]
    ) -> Callable[..., http.client.HTTPConnection]:
        """What makes a connection that can be ended from outside."""

        def make(*args: Any, **more: Any) -> http.client.HTTPConnection:
            connection = kind(*args, **more)
            self.connections.append(connection)
            return connection

        return make

    def end(self) -> None:
        """End all of them; whoever reads there gets an error."""
        self.is_over = True
        for connection in self.connections:
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)


class _Http(urllib.request.HTTPHandler):
    """Notes its connections."""

    def __init__(self, exchange: _Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """As the base class does."""
        return self.do_open(self._exchange.noted(http.client.HTTPConnection), req)


class _Https(urllib.request.HTTPSHandler):
    """See _Http."""

    def __init__(self, exchange: _Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """As the base class does."""
        made = self._exchange.noted(http.client.HTTPSConnection)
        return self.do_open(made, req, context=ssl.create_default_context())


@contextmanager
def _deadline(seconds: float) -> Iterator[_Exchange]:
    """An exchange that ends after a time; a server that sends a byte now and then has none else."""
    exchange, left = _Exchange(), threading.Event()

    def guard() -> None:
        wait_s = seconds
        while not left.wait(wait_s):
            exchange.end()
            # A connection whose TLS begins just then, or that is made later, is missed once.
            wait_s = _AGAIN_S

    threading.Thread(target=guard, name="deadline", daemon=True).start()
    try:
        yield exchange
    finally:
        left.set()
