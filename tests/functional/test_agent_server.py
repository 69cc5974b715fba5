# SPDX-License-Identifier: Apache-2.0
"""The agent's server against silent, slow, rude and vanishing clients, and its end."""

import contextlib
import hashlib
import http.client
import select
import signal
import socket
import ssl
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.functional.conftest import Place
from tests.support import waiting
from tests.support.mutual_tls import Client

pytestmark = pytest.mark.slow

MANY = 200
CERTIFICATES = f"/1.0/loadbalancer/{uuid.uuid4()}/certificates"
HEAD = b"GET / HTTP/1.1\r\nHost: amphora\r\n"
# Far beyond every deadline of the agent (the longest is ten seconds).
PATIENCE_S = 40.0


def _client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = _client_hello()


def _silent(client: Client) -> socket.socket:
    return client.dial()


def _half_hello(client: Client) -> socket.socket:
    sock = client.dial()
    sock.sendall(HELLO[: len(HELLO) // 2])
    return sock


def _no_request(client: Client) -> socket.socket:
    return client.session()


def _half_head(client: Client) -> socket.socket:
    session = client.session()
    session.sendall(HEAD)
    return session


WAYS_TO_WAIT = [_silent, _half_hello, _no_request, _half_head]


@pytest.mark.parametrize("wait", WAYS_TO_WAIT)
def test_server_answers_while_many_connections_wait(
    agent: Place, controller: Client, wait: Callable[[Client], socket.socket]
) -> None:
    """200 connections that say nothing, or half of something, do not make others wait for them."""
    with contextlib.ExitStack() as opened:
        waiters = [opened.enter_context(wait(controller)) for _ in range(MANY)]
        for _ in range(5):
            assert controller.request("GET", "/1.0/info").status == 200
        # A server that had waited for them would have closed them by now.
        assert sum(not _ended(sock) for sock in waiters) > MANY // 2
    assert agent.client(agent.pki.controller).request("GET", "/").status == 200


@pytest.mark.parametrize("wait", WAYS_TO_WAIT)
def test_server_ends_connections_that_wait_too_long(
    controller: Client, wait: Callable[[Client], socket.socket]
) -> None:
    """Handshake and head have deadlines; one that is completed in time is served."""
    with contextlib.closing(wait(controller)) as sock:
        _await_end(sock)
    with contextlib.closing(_half_head(controller)) as sock:
        sock.sendall(b"\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"


def test_server_gives_a_trickling_head_no_more_time(controller: Client) -> None:
    """A byte now and then does not move the deadline of a head."""
    with contextlib.closing(_half_head(controller)) as sock:

        def trickle() -> bool | None:
            try:
                sock.sendall(b"X-Slow: 1\r\n")
            except OSError:
                return True
            return _ended(sock) or None

        waiting.until("the end", trickle, deadline_s=PATIENCE_S, every_s=0.5)


def test_server_ends_a_request_whose_body_does_not_come(agent: Place, controller: Client) -> None:
    """A silent body is ended with 400, and nothing of it is stored."""
    path = f"{CERTIFICATES}/{'a' * 40}.pem"
    with contextlib.closing(controller.session()) as sock:
        sock.settimeout(PATIENCE_S)
        sock.sendall(f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf".encode())
        assert sock.recv(12) == b"HTTP/1.1 400"
    assert controller.request("GET", path).status == 404
    assert not list(agent.base.rglob(f"{'a' * 40}.pem"))


def test_server_does_not_take_half_a_body_for_a_whole_one(controller: Client) -> None:
    """A client that dies within an upload leaves nothing behind; one that does not, does."""
    path = f"{CERTIFICATES}/{'b' * 40}.pem"
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n".encode()
    with contextlib.closing(controller.session()) as sock:
        sock.sendall(head + b"half")
        sock.shutdown(socket.SHUT_WR)
    assert controller.request("GET", path).status == 404
    with contextlib.closing(controller.session()) as sock:
        sock.sendall(head + b"halfhalf")
        assert sock.recv(12) == b"HTTP/1.1 200"
    assert controller.request("GET", path).status == 200


@pytest.mark.parametrize(
    ("framing", "begun"),
    [
        (b"Content-Length: 100000\r\n", b"half"),
        (b"Content-Length: 20000000\r\n", b"half"),
        (b"Transfer-Encoding: chunked\r\n", b"186a0\r\nhalf"),
    ],
    ids=["length", "too large", "chunked"],
)
def test_server_answers_while_many_bodies_stall(
    controller: Client, framing: bytes, begun: bytes
) -> None:
    """50 controllers that stall within a body do not make others wait, uploads included."""
    path = f"{CERTIFICATES}/{'d' * 40}.pem"
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\n".encode() + framing + b"\r\n"
    with contextlib.ExitStack() as opened:
        stalled = [opened.enter_context(controller.session()) for _ in range(50)]
        for sock in stalled:
            sock.sendall(head + begun)
        for _ in range(5):
            assert controller.request("GET", "/1.0/info").status == 200
        assert controller.request("PUT", path, b"x" * 100_000).status == 200
        # A server that had given up on them would not have had to wait for them.
        assert sum(not _ended(sock) for sock in stalled) > 25
    assert controller.request("DELETE", path).status == 200


def test_server_completes_a_body_that_stalled(controller: Client) -> None:
    """A body whose second half comes late, with the next request behind it, is a whole one."""
    path = f"{CERTIFICATES}/{'d' * 40}.pem"
    body = b"x" * 100_000
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    next_one = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    with contextlib.closing(controller.session()) as sock:
        sock.sendall(head + body[:50_000])
        assert controller.request("GET", path).status == 404
        sock.sendall(body[50_000:] + next_one)
        with sock.makefile("rb") as stream:
            told = stream.read()
    assert told.count(b"HTTP/1.1 200 OK") == 2
    assert told.endswith(b'{"md5sum":"%s"}' % hashlib.md5(body).hexdigest().encode())
    assert controller.request("DELETE", path).status == 200


def test_server_keeps_requests_that_come_at_once(controller: Client) -> None:
    """Of 300 requests in one go, more than any buffer for heads holds, each is answered."""
    with contextlib.closing(controller.session()) as sock:
        sock.sendall((HEAD + b"\r\n") * 299 + HEAD + b"Connection: close\r\n\r\n")
        with sock.makefile("rb") as stream:
            assert stream.read().count(b"HTTP/1.1 200 OK") == 300


def test_server_bounds_the_memory_of_stalled_bodies(fresh_place: Place) -> None:
    """Of 12 stalled bodies of 15 MiB the older ones make room, without an answer, for the newer."""
    part = bytes(15 << 20)
    path = f"{CERTIFICATES}/{'d' * 40}.pem"
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(part) + 4}\r\n\r\n".encode()
    with _running(fresh_place) as process, contextlib.ExitStack() as opened:
        client = fresh_place.client(fresh_place.pki.controller)
        before = _most_memory_kib(process.pid)
        stalled = []
        for _ in range(12):
            stalled.append(opened.enter_context(client.session()))
            stalled[-1].sendall(head + part)
        _await_end(stalled[0])
        assert _most_memory_kib(process.pid) - before < 110 * 1024
        # A controller tries again after a broken connection, and not after a refusal.
        with contextlib.suppress(ConnectionResetError):
            assert stalled[0].recv(12) == b""
        stalled[-1].sendall(b"half")
        assert stalled[-1].recv(12) == b"HTTP/1.1 200"
    assert "is crowded out by other bodies" in fresh_place.log.read_text()


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 4\r\n", b"four"),
        (b"Transfer-Encoding: chunked\r\n", b"4\r\nfour\r\n0\r\n\r\n"),
    ],
    ids=["length", "chunked"],
)
def test_server_takes_chunked_bodies_and_expectations(
    controller: Client, framing: bytes, body: bytes
) -> None:
    """Who expects to be asked for the body is asked, once, and then answered."""
    path = f"{CERTIFICATES}/{'c' * 40}.pem"
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n".encode() + framing
    with contextlib.closing(controller.session()) as sock:
        sock.sendall(head + b"\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(12) == b"HTTP/1.1 200"
    assert controller.request("GET", path).json() == {"md5sum": "8cbad96aced40b3838dd9f07f6ef5772"}


def test_server_answers_requests_in_a_row_on_one_connection(controller: Client) -> None:
    """A connection is kept, also when the next request comes with the first."""
    with contextlib.ExitStack() as opened:
        sock = opened.enter_context(controller.session())
        stream = opened.enter_context(sock.makefile("rb"))
        for _ in range(3):
            sock.sendall(HEAD + b"\r\n" + HEAD + b"\r\n")
            for _ in range(2):
                assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
                while stream.readline() != b"\r\n":
                    pass
                assert stream.read(len('{"api_version":"1.0"}')) == b'{"api_version":"1.0"}'


def test_server_bounds_the_number_of_idle_connections(controller: Client) -> None:
    """Of 50 connections kept after a request the oldest are closed, and the newest stays."""
    with contextlib.ExitStack() as opened:
        kept = [opened.enter_context(_half_head(controller)) for _ in range(50)]
        for sock in kept:
            sock.sendall(b"\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"
            while sock.recv(4096)[-1:] != b"}":
                pass
        _await_end(kept[0])
        assert not _ended(kept[-1])
        kept[-1].sendall(HEAD + b"\r\n")
        assert kept[-1].recv(12) == b"HTTP/1.1 200"


def test_server_answers_beyond_its_number_of_connections(agent: Place, controller: Client) -> None:
    """Silent connections are crowded out, the longest silent ones first; requests are not."""
    with contextlib.ExitStack() as opened:
        silent = [opened.enter_context(_silent(controller)) for _ in range(600)]
        assert controller.request("GET", "/").status == 200
        _await_end(silent[0])
    assert "crowded out by other connections" in agent.log.read_text()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: morse\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"no words of HTTP\r\n\r\n",
    ],
    ids=["long head", "many headers", "coding", "length", "version", "noise"],
)
def test_server_refuses_in_json_with_400(controller: Client, request_bytes: bytes) -> None:
    """What is no request gets the one code that controllers take for a refusal, in JSON."""
    with contextlib.ExitStack() as opened:
        sock = opened.enter_context(controller.session())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(request_bytes)
        response = opened.enter_context(contextlib.closing(http.client.HTTPResponse(sock)))
        response.begin()
        assert (response.status, response.headers["Content-Type"]) == (400, "application/json")
        assert response.read().startswith(b'{"error": "400 Bad Request: ')


def test_server_lets_the_client_read_why_its_body_is_too_large(controller: Client) -> None:
    """A body over 16 MiB is answered with 400, not with a broken connection."""
    answer = controller.request("PUT", f"{CERTIFICATES}/{'d' * 40}.pem", b"x" * (17 << 20))
    assert answer.status == 400


def test_server_listens_where_it_is_told(fresh_place: Place) -> None:
    """By default IPv4 and IPv6 are answered on one port; an address of the file is the only one."""
    client = fresh_place.client(fresh_place.pki.controller)
    with _running(fresh_place):
        with fresh_place.outer.entered():
            socket.create_connection(("::1", 9443), PATIENCE_S).close()
        assert client.request("GET", "/").status == 200
    with fresh_place.config_file.open("a") as config:
        config.write("[haproxy_amphora]\nbind_host = 127.0.0.1\nbind_port = 9443\n")
    with (
        _running(fresh_place),
        fresh_place.outer.entered(),
        pytest.raises(ConnectionRefusedError),
    ):
        socket.create_connection(("::1", 9443), PATIENCE_S)


def test_server_stops_after_what_it_has_begun(fresh_place: Place) -> None:
    """SIGTERM lets a request in flight complete, takes no new one, and ends with status 0."""
    path = f"{CERTIFICATES}/{'e' * 40}.pem"
    with _running(fresh_place) as process:
        client = fresh_place.client(fresh_place.pki.controller)
        with contextlib.ExitStack() as opened:
            kept = opened.enter_context(_half_head(client))
            sock = opened.enter_context(client.session())
            sock.sendall(
                f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf".encode()
            )
            # Answered after the other one's head has been read.
            assert client.request("GET", "/").status == 200
            process.send_signal(signal.SIGTERM)
            _await_end(kept)
            with pytest.raises(OSError, match="refused"):
                client.dial()
            sock.sendall(b"half")
            with sock.makefile("rb") as stream:
                assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
                assert b"\r\nConnection: close\r\n" in stream.read()
        assert process.wait(timeout=PATIENCE_S) == 0
    assert list(fresh_place.base.rglob(f"{'e' * 40}.pem"))


def test_server_stops_though_a_request_hangs(fresh_place: Place) -> None:
    """SIGTERM waits a few seconds for a client that does not go on, no longer."""
    with _running(fresh_place) as process:
        client = fresh_place.client(fresh_place.pki.controller)
        with contextlib.closing(client.session()) as sock:
            sock.sendall(
                f"PUT {CERTIFICATES}/{'f' * 40}.pem HTTP/1.1\r\nHost: a\r\n"
                "Content-Length: 8\r\n\r\n".encode()
            )
            assert client.request("GET", "/").status == 200
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=PATIENCE_S)


def test_server_rereads_its_configuration_on_hangup(fresh_place: Place) -> None:
    """SIGHUP takes a changed file over in the same process; a wrong file changes nothing."""
    with _running(fresh_place) as process:
        good = fresh_place.config_file.read_text()
        fresh_place.config_file.write_text("[DEFAULT]\ndebug = True\n" + good)
        process.send_signal(signal.SIGHUP)
        _await_line(fresh_place, "[DEFAULT] debug changed")
        fresh_place.config_file.write_text("[DEFAULT]\ndebug = perhaps\n" + good)
        process.send_signal(signal.SIGHUP)
        _await_line(fresh_place, "the last good settings stay in force")
        assert process.poll() is None
        assert fresh_place.client(fresh_place.pki.controller).request("GET", "/").status == 200


def test_server_is_one_process_that_tells_systemd_how_it_is(fresh_place: Place) -> None:
    """READY comes when clients can connect, then WATCHDOG again and again, and it has no child."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(fresh_place.directory / "notify"))
        systemd.settimeout(PATIENCE_S)
        watched = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "30000000"}
        with _running(fresh_place, **watched) as process:
            assert systemd.recv(1000).startswith(b"READY=1\n")
            assert fresh_place.client(fresh_place.pki.controller).request("GET", "/").status == 200
            assert _children(process.pid) == []
            assert [systemd.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3


def test_server_that_hangs_says_where(fresh_place: Place) -> None:
    """SIGABRT, by which systemd ends what it watched in vain, leaves the stacks in the log."""
    process = fresh_place.start()
    fresh_place.await_answer()
    process.send_signal(signal.SIGABRT)
    assert process.wait(timeout=PATIENCE_S) == -signal.SIGABRT
    told = fresh_place.log.read_text()
    assert "Fatal Python error: Aborted" in told
    assert "server_worker.py" in told


@contextlib.contextmanager
def _running(place: Place, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = place.start(environment)
    try:
        place.await_answer()
        yield process
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)
    assert "Traceback" not in place.log.read_text()


def _most_memory_kib(pid: int) -> int:
    """The most that a process has had resident, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1])


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as children:  # noqa: PTH123
        return [int(child) for child in children.read().split()]


def _await_line(place: Place, words: str) -> None:
    waiting.until(
        words, lambda: words in place.log.read_text() or None, deadline_s=PATIENCE_S, every_s=0.05
    )


def _ended(sock: socket.socket) -> bool:
    """Whether the other side has closed; what it sent before, such as an alert, is skipped."""
    while select.select([sock], [], [], 0)[0]:
        try:
            # Below TLS, if there is any.
            if not socket.socket.recv(sock, 65536):
                return True
        except (ConnectionResetError, BrokenPipeError):
            return True
    return False


def _await_end(sock: socket.socket) -> None:
    waiting.until(
        "the server to close", lambda: _ended(sock) or None, deadline_s=PATIENCE_S, every_s=0.05
    )
