# SPDX-License-Identifier: Apache-2.0
"""Programs of the image that keepalived calls every few seconds."""

import contextlib
import os
import socket
import struct
import subprocess
import tempfile
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amphora_agent import render
from tests.support import need
from tests.support.netns import Namespace, namespace
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


# --- amphora-health-checker ---------------------------------------------------------------------

CHECKER = element_file("usr/local/bin/amphora-health-checker")
SCTP_PORT = 36412
INIT_ACK, ABORT, ERROR = 2, 6, 9


@pytest.fixture(scope="module")
def checker() -> types.ModuleType:
    """The program as a module; byte code of it is not written, as the image would take it along."""
    module = types.ModuleType("amphora_health_checker")
    exec(compile(CHECKER.read_text(), str(CHECKER), "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
    ],
)
def test_sctp_checksum_is_the_published_one(
    checker: types.ModuleType, data: bytes, crc: int
) -> None:
    """The check value of CRC-32C and the examples of RFC 3720, B.4 come out."""
    assert checker.crc32c(data) == crc


def test_sctp_init_is_laid_out_by_the_rfc(checker: types.ModuleType) -> None:
    """An INIT bears no verification tag, its own tag and length, and a checksum over it all."""
    sent = checker.init(1025, SCTP_PORT, 0xA1B2C3D4)
    assert sent[:8] == struct.pack("!HHL", 1025, SCTP_PORT, 0)
    assert sent[12:20] == bytes((1, 0, 0, 20, 0xA1, 0xB2, 0xC3, 0xD4))
    assert len(sent) == 32
    unsigned = sent[:8] + bytes(4) + sent[12:]
    assert sent[8:12] == struct.pack("<L", checker.crc32c(unsigned))


@pytest.mark.parametrize("size", [0, 11, 15])
def test_sctp_answer_that_is_cut_off_is_none(checker: types.ModuleType, size: int) -> None:
    """What is shorter than a packet with a chunk is no answer; a whole one is."""
    whole = checker.packet(SCTP_PORT, 1025, 7, ABORT)
    assert checker.answer(whole, 1025, SCTP_PORT, 7) == (ABORT, 0)
    assert checker.answer(whole[:size], 1025, SCTP_PORT, 7) is None


@pytest.fixture(scope="module")
def sctp_place() -> Iterator[Namespace]:
    """A namespace of its own, whose loopback checker and member share."""
    need.root()
    need.programs("ip")
    with namespace("sctp") as made:
        yield made


class Member:
    """Answers INITs by hand.

    Args:
        kinds: of the chunks with which one INIT after the other is answered; None for silence.
        tag_offset, port_offset: make answers that belong to somebody else.
    """

    def __init__(
        self,
        checker: types.ModuleType,
        kinds: tuple[int | None, ...],
        *,
        tag_offset: int = 0,
        port_offset: int = 0,
    ) -> None:
        self._checker = checker
        self._kinds = list(kinds)
        self._tag_offset = tag_offset
        self._port_offset = port_offset
        self.inits = 0
        self.aborts: list[int] = []

    def serve(self, raw: socket.socket, ended: threading.Event) -> None:
        """Answer until the other side has ended and all that it sent has been read."""
        while True:
            try:
                data, address = raw.recvfrom(2048)
            except TimeoutError:
                if ended.is_set():
                    return
                continue
            if raw.family == socket.AF_INET:
                data = data[(data[0] & 15) * 4 :]
            source, target, tag = struct.unpack_from("!HHL", data)
            if target != SCTP_PORT:
                continue
            if data[12] == ABORT:
                self.aborts.append(tag)
                return
            self.inits += 1
            kind = self._kinds.pop(0) if self._kinds else None
            if kind is not None:
                (theirs,) = struct.unpack_from("!L", data, 16)
                fields = struct.pack("!LLHHL", 0x5A5A5A5A, 65536, 1, 1, 1)
                answer = self._checker.packet(
                    SCTP_PORT + self._port_offset,
                    source,
                    theirs + self._tag_offset & 0xFFFFFFFF,
                    kind,
                    fields if kind == INIT_ACK else b"",
                )
                raw.sendto(answer, (address[0], 0))


def sctp_check(place: Namespace, member: Member, address: str, timeout_s: int) -> int:
    """The status of amphora-health-checker towards a member."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with place.entered():
        raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    with raw:
        raw.bind((address, 0))
        raw.settimeout(0.1)
        ended = threading.Event()
        serving = threading.Thread(target=member.serve, args=(raw, ended))
        serving.start()
        done = subprocess.run(
            place.command(str(CHECKER), "sctp", "-t", str(timeout_s), address, str(SCTP_PORT)),
            capture_output=True,
            check=False,
            timeout=_DEADLINE_S,
        )
        ended.set()
        serving.join()
    assert done.stderr == b""
    return done.returncode


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(
    ("kinds", "status", "aborts"),
    [
        ((INIT_ACK,), 0, [0x5A5A5A5A]),
        ((ABORT,), 1, []),
        ((), 2, []),
        ((ERROR,), 3, []),
        ((None, INIT_ACK), 0, [0x5A5A5A5A]),
    ],
)
def test_sctp_check_tells_what_a_member_answers(
    checker: types.ModuleType,
    sctp_place: Namespace,
    *,
    address: str,
    kinds: tuple[int | None, ...],
    status: int,
    aborts: list[int],
) -> None:
    """Each answer has its status, a lost datagram is repeated, and what was begun is aborted."""
    member = Member(checker, kinds)
    assert sctp_check(sctp_place, member, address, 2) == status
    assert member.aborts == aborts
    assert member.inits >= max(len(kinds), 1)


@pytest.mark.parametrize("offsets", [{"tag_offset": 1}, {"port_offset": 1}])
def test_sctp_check_does_not_take_somebody_elses_answer(
    checker: types.ModuleType, sctp_place: Namespace, offsets: dict[str, int]
) -> None:
    """An acceptance for another tag or from another port is none."""
    member = Member(checker, (INIT_ACK,), **offsets)
    assert sctp_check(sctp_place, member, "127.0.0.1", 1) == 2
    assert member.aborts == []


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "sctp",
        "sctp 127.0.0.1",
        "sctp 127.0.0.1 0",
        "sctp 127.0.0.1 x",
        "sctp -t 1 127.0.0.1 70000",
        "sctp -t x 127.0.0.1 80",
        "sctp -t",
        "sctp no-address 80",
        "udp 127.0.0.1 80",
        "sctp 127.0.0.1 80 90",
    ],
)
def test_sctp_check_that_cannot_be_made_fails(arguments: str) -> None:
    """A wrong command line is status 1, with a word about it, and no packet is sent."""
    done = subprocess.run(
        [str(CHECKER), *arguments.split()], capture_output=True, check=False, timeout=_DEADLINE_S
    )
    assert done.returncode == 1
    assert len(done.stderr.decode().splitlines()) == 1
