# SPDX-License-Identifier: Apache-2.0
"""Programs of the image that keepalived calls every few seconds."""

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amphora_agent import render
from tests.support import need
from tests.unit.test_elements import element_file

_DEADLINE_S = 60.0


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory for sockets, whose paths are limited."""
    with tempfile.TemporaryDirectory(prefix="amp-") as directory:
        yield Path(directory)


# --- haproxy-vrrp-check -------------------------------------------------------------------------


def vrrp_check(*sockets: Path) -> int:
    """The status of haproxy-vrrp-check, which says nothing."""
    need.programs("nc", "timeout")
    done = subprocess.run(
        [str(element_file("usr/local/bin/haproxy-vrrp-check")), *map(str, sockets)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=_DEADLINE_S,
    )
    assert done.stdout + done.stderr == b""
    return done.returncode


@contextmanager
def haproxy(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """Somebody who reads a line on each connection, answers and closes it; what was read."""
    asked: list[bytes] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, connection.makefile("rb") as stream:
                    asked.append(stream.readline())
                    connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield asked
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()


@contextmanager
def deaf(path: Path, *, queued: int) -> Iterator[None]:
    """Somebody who accepts nothing, with connections that wait already."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(path))
        # The kernel lets one more wait than it is told.
        listening.listen(max(queued - 1, 0))
        for _ in range(queued):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        yield


def test_vrrp_check_of_nothing_succeeds() -> None:
    """Without sockets nothing can fail."""
    assert vrrp_check() == 0


def test_vrrp_check_asks_each_socket_once(short_path: Path) -> None:
    """Every haproxy is asked one thing, and those that answer do not count."""
    one, two = short_path / "one.sock", short_path / "t w'o.sock"
    with haproxy(one, b"Name: HAProxy\n\n") as first, haproxy(two, b"x" * 2**20) as second:
        assert vrrp_check(one, two) == 0
    assert first == second == [b"show info\n"]


def test_vrrp_check_counts_who_does_not_answer(short_path: Path) -> None:
    """No socket, nobody behind it, and one that closes without a word: each counts."""
    good, mute, gone = (short_path / f"{name}.sock" for name in ("good", "mute", "gone"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(gone))
    with haproxy(good, b"Name: HAProxy\n\n"), haproxy(mute, b""):
        assert vrrp_check(good) == 0
        assert vrrp_check(good, short_path / "none.sock", mute, gone, good) == 3


def test_vrrp_check_gives_up_on_who_hangs(short_path: Path) -> None:
    """One that accepts nothing counts, also when its queue is full and nobody can connect."""
    good, hung, full = (short_path / f"{name}.sock" for name in ("good", "hung", "full"))
    with haproxy(good, b"Name: HAProxy\n\n"), deaf(hung, queued=0), deaf(full, queued=2):
        assert vrrp_check(hung, good, full) == 2


def test_vrrp_check_never_counts_to_zero(short_path: Path) -> None:
    """The status of 256 failures is not that of none."""
    assert vrrp_check(*[short_path / "none.sock"] * 256) == 255


# --- udp_check.sh -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_udp_check_tells_a_port_that_is_closed(
    tmp_path: Path, family: socket.AddressFamily
) -> None:
    """A member is up while its port is open, though it never answers, and down after."""
    need.programs("nc")
    script = tmp_path / "udp_check.sh"
    script.write_text(render.udp_check())
    script.chmod(0o100 if os.geteuid() == 0 else 0o500)
    address = "127.0.0.1" if family == socket.AF_INET else "::1"

    def check() -> int:
        return subprocess.run(
            [str(script), address, str(port)],
            capture_output=True,
            check=False,
            timeout=_DEADLINE_S,
        ).returncode

    with socket.socket(family, socket.SOCK_DGRAM) as member:
        member.bind((address, 0))
        port = member.getsockname()[1]
        assert check() == 0
    assert check() != 0
