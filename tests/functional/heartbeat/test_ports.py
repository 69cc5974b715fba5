# SPDX-License-Identifier: Apache-2.0
"""What the heartbeat sender uses of the system: haproxy's socket, datagrams, systemd's socket."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from amphora_agent.errors import AgentError
from amphora_agent.system.datagram import DatagramSender
from amphora_agent.system.haproxy_socket import ANSWER_MAX_BYTES, query
from amphora_agent.system.notify import Notifier

_DEADLINE_S = 30.0


@contextmanager
def answering(
    path: Path, answer: Callable[[socket.socket, threading.Event], None]
) -> Iterator[None]:
    """Serve one connection on a unix socket; the event is set when the test has ended."""
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                answer(connection, ended)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def test_query_sends_one_line_and_reads_to_the_end(tmp_path: Path) -> None:
    """The command arrives with its line end and end of input; the answer may come in pieces."""
    asked: list[bytes] = []

    def answer(connection: socket.socket, _: threading.Event) -> None:
        with connection.makefile("rb") as stream:
            asked.append(stream.read())
        for piece in (b"first\n", b"second \xc3", b"\xa9 \xff\n"):
            connection.sendall(piece)

    with answering(tmp_path / "s", answer):
        text = query(tmp_path / "s", "show info;show stat", timeout_s=_DEADLINE_S)
    assert asked == [b"show info;show stat\n"]
    assert text == "first\nsecond é �\n"


def test_query_deadline_holds_against_a_trickle(tmp_path: Path) -> None:
    """An answer of which a byte comes now and then runs out of time all the same."""

    def answer(connection: socket.socket, ended: threading.Event) -> None:
        for _ in range(200):
            connection.sendall(b".")
            if ended.wait(0.02):
                return

    with answering(tmp_path / "s", answer), pytest.raises(AgentError, match="in time"):
        query(tmp_path / "s", "show info", timeout_s=0.3)


def test_query_deadline_holds_against_silence(tmp_path: Path) -> None:
    """A process that takes the connection and says nothing runs out of time."""

    def answer(_: socket.socket, ended: threading.Event) -> None:
        ended.wait()

    with answering(tmp_path / "s", answer), pytest.raises(AgentError, match="in time"):
        query(tmp_path / "s", "show info", timeout_s=0.1)


def test_query_bounds_the_answer(tmp_path: Path) -> None:
    """An endless answer ends at the limit and not with the memory."""

    def answer(connection: socket.socket, _: threading.Event) -> None:
        while True:
            connection.sendall(b"x" * (ANSWER_MAX_BYTES // 16))

    with answering(tmp_path / "s", answer), pytest.raises(AgentError, match="too much"):
        query(tmp_path / "s", "show info", timeout_s=_DEADLINE_S)


def test_query_names_the_socket_that_nobody_serves(tmp_path: Path) -> None:
    """A missing socket, and one left behind by a dead process, are errors that name it."""
    left = tmp_path / "left"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(left))
    for path in (tmp_path / "missing", left, tmp_path / ("long" * 40)):
        with pytest.raises(AgentError, match=str(path)):
            query(path, "show info", timeout_s=_DEADLINE_S)


@pytest.fixture
def sender() -> Iterator[DatagramSender]:
    """A sender whose sockets are closed afterwards."""
    with DatagramSender() as made:
        yield made


@contextmanager
def ear(host: str) -> Iterator[socket.socket]:
    """A UDP socket on loopback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as heard:
        heard.bind((host, 0))
        heard.settimeout(_DEADLINE_S)
        yield heard


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_datagram_reaches_addresses_and_names(sender: DatagramSender, host: str) -> None:
    """IPv4, IPv6 and a name are all reached by one sender."""
    # Of several addresses of a name the first one that the kernel takes gets the datagram.
    address = str(socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0][4][0])
    with ear(address) as heard:
        sender.send(b"beat", host, heard.getsockname()[1], now_s=0.0)
        assert heard.recv(100) == b"beat"


def test_largest_datagram_passes_and_a_larger_one_is_named_with_its_size(
    sender: DatagramSender,
) -> None:
    """65,507 bytes go out, 65,508 are refused with their number in the message."""
    with ear("127.0.0.1") as heard:
        port = heard.getsockname()[1]
        sender.send(b"x" * 65507, "127.0.0.1", port, now_s=0.0)
        assert len(heard.recv(70000)) == 65507
        with pytest.raises(AgentError, match=r"Message too long.*65508 bytes"):
            sender.send(b"x" * 65508, "127.0.0.1", port, now_s=0.0)


def test_refused_datagram_leaves_the_sender_usable(sender: DatagramSender) -> None:
    """After an address that the kernel refuses, and a name that is none, others are reached."""
    with pytest.raises(AgentError, match="Permission denied"):
        sender.send(b"beat", "255.255.255.255", 5555, now_s=0.0)
    for name in ("", "a..b", "x" * 300):
        with pytest.raises(AgentError, match="has no address"):
            sender.send(b"beat", name, 5555, now_s=0.0)
    with ear("127.0.0.1") as heard:
        sender.send(b"beat", "127.0.0.1", heard.getsockname()[1], now_s=0.0)
        assert heard.recv(100) == b"beat"


def test_unheard_datagram_is_no_error_of_the_next(sender: DatagramSender) -> None:
    """A closed port answers by ICMP, and that error is not laid on any later datagram."""
    with ear("127.0.0.1") as closed:
        port = closed.getsockname()[1]
    for _ in range(3):
        sender.send(b"beat", "127.0.0.1", port, now_s=0.0)


@pytest.mark.parametrize("is_abstract", [False, True])
def test_notifier_says_what_systemd_reads(tmp_path: Path, is_abstract: bool) -> None:
    """Ready, status, alive and stopping arrive as in sd_notify(3), on both kinds of socket."""
    name = f"@amphora-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name[1:]}" if is_abstract else name)
        systemd.settimeout(_DEADLINE_S)
        variables = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"}
        with closing(Notifier.from_environment(variables)) as notifier:
            assert notifier.watchdog_s == 30.0
            notifier.ready("up\nREADY=0")
            notifier.status("fine")
            notifier.alive()
            notifier.stopping()
        said = [systemd.recv(1000) for _ in range(4)]
    assert said == [b"READY=1\nSTATUS=up READY=0", b"STATUS=fine", b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
    ],
)
def test_notifier_without_watchdog_does_not_feed_it(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    """Without a watchdog of its own process a service sends no WATCHDOG, but all else."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(_DEADLINE_S)
        variables = {"NOTIFY_SOCKET": str(path), **variables}
        with closing(Notifier.from_environment(variables)) as notifier:
            notifier.alive()
            notifier.stopping()
        assert systemd.recv(1000) == b"STOPPING=1"


def test_notifier_survives_a_deaf_systemd(tmp_path: Path) -> None:
    """Nobody at the socket, a full one, or no socket at all, is no error."""
    Notifier(None).ready("up")
    path = tmp_path / "notify"
    with closing(Notifier(str(path))) as notifier:
        notifier.ready("up")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(path))
            for _ in range(2000):
                notifier.status("x" * 100)
            assert systemd.recv(1000).startswith(b"STATUS=x")


def test_notifier_finds_a_systemd_that_was_started_again(tmp_path: Path) -> None:
    """A new socket of the same name hears the next message."""
    path = tmp_path / "notify"
    with closing(Notifier(str(path))) as notifier:
        for text in ("one", "two"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
                systemd.bind(str(path))
                systemd.settimeout(_DEADLINE_S)
                notifier.status(text)
                assert systemd.recv(1000) == f"STATUS={text}".encode()
            path.unlink()
