# SPDX-License-Identifier: Apache-2.0
"""The webhook by itself: what takes an event, and what does not."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.watch.delivery import Untold
from amphora_controller.watch.webhook import Webhook
from tests.support.watched import EVENT
from tests.support.watching import DEADLINE_S, Hook


def test_webhook_takes_success_alone_for_an_answer(hook: Hook) -> None:
    """A redirection and a 404 are no success, and nothing is told where they lead."""
    hook.up()
    Webhook(url=hook.url).tell(EVENT)
    [told] = hook.took
    assert (told["number"], told["at"], told["after"]) == (1, "2026-01-01T00:00:00Z", "ALIVE")
    for status in (302, 404, 500):
        hook.answer = status
        with pytest.raises(Untold, match=f"127.0.0.1 answers with status {status}"):
            Webhook(url=hook.url).tell(EVENT)
    assert hook.asked == 4


@contextmanager
def served(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A server on loopback that talks to one connection, until it is left; its port."""
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_S)

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                talk(connection, left)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            left.set()
            thread.join()


def drip(connection: socket.socket, left: threading.Event) -> None:
    """Send a byte of a header now and then, and never its end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not left.wait(0.05):
        connection.sendall(b"x")


def be_still(connection: socket.socket, left: threading.Event) -> None:
    """Take what comes and say nothing."""
    left.wait(DEADLINE_S)
    connection.recv(1)


def hang_up(connection: socket.socket, left: threading.Event) -> None:
    """Read the request and close, as a server that is killed."""
    del left
    connection.recv(65_536)


@pytest.mark.parametrize(
    ("scheme", "talk", "words"),
    [
        ("http", drip, r"no whole answer within 0\.5 s"),
        ("http", be_still, r"no whole answer within 0\.5 s|timed out"),
        ("https", be_still, r"no whole answer within 0\.5 s|timed out"),
        ("http", hang_up, "127.0.0.1: "),
        ("https", hang_up, "127.0.0.1: "),
    ],
)
def test_webhook_without_a_whole_answer_took_nothing(
    scheme: str, talk: Callable[[socket.socket, threading.Event], None], words: str
) -> None:
    """A server that drips, is still or hangs up is left after the deadline, and did not take it."""
    with served(talk) as port, pytest.raises(Untold, match=words):
        Webhook(url=f"{scheme}://127.0.0.1:{port}/", deadline_s=0.5).tell(EVENT)


def test_webhook_that_speaks_no_tls_is_not_told(hook: Hook) -> None:
    """Plain HTTP where TLS is awaited is an error of the network, and told with the host alone."""
    hook.up()
    with pytest.raises(Untold, match=r"^127\.0\.0\.1: \[SSL"):
        Webhook(url=hook.url.replace("http:", "https:")).tell(EVENT)
    assert hook.took == []


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://x", "http://", "http://[x", "http://x:y/", "//x/", "alarms"),
        *("http://user:word@x/", "http://x/a b", "http://x/\n", "http://x/ä"),
        *("http://a..b/", f"http://{'x' * 64}.example/"),
    ],
)
def test_webhook_that_is_no_url_is_refused(url: str) -> None:
    """What could never be asked is refused at the start, without showing its secret."""
    with pytest.raises(ControllerError, match="--webhook needs a URL") as caught:
        Webhook(url=url)
    assert "word" not in str(caught.value)
