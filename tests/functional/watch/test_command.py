# SPDX-License-Identifier: Apache-2.0
"""The command `amphoractl watch`: its options, its terminal, its end."""

import fcntl
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from amphora_controller import cli
from tests.support.watched import AMPHORA, KEY
from tests.support.watching import AMPHORACTL, DEADLINE_S, Amphora, Watch


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--listen", "nowhere"], "nowhere is not HOST:PORT"),
        (["--listen", "203.0.113.1:5556"], "cannot listen at 203.0.113.1 port 5556"),
        (["--forward", "127.0.0.1:5555"], "--forward needs --listen"),
        (
            ["--listen", "[::]:5556", "--forward", "127.0.0.1:5556"],
            "127.0.0.1:5556 is where the watch itself listens",
        ),
        (["--heartbeats"], "--heartbeats needs --json"),
        (["--webhook", "ftp://x"], "--webhook needs a URL"),
        (["--exec", "/etc/passwd"], "/etc/passwd is no program"),
        (["--key-file", "/nonexistent"], "/nonexistent cannot be read"),
        (["--state", "/proc/x"], "/proc/x cannot be used"),
    ],
)
def test_bad_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    """Each wrong option ends with 3, its name and the next step."""
    (tmp_path / "key").write_text(KEY)
    assert cli.main(["watch", "--key-file", str(tmp_path / "key"), *options]) == 3
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_port_that_is_taken_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the health manager --listen at its port is refused, with the way out."""
    (tmp_path / "key").write_text(KEY)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as manager:
        manager.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{manager.getsockname()[1]}"
        assert cli.main(["watch", "--key-file", str(tmp_path / "key"), "--listen", where]) == 3
    assert "--mirror" in capsys.readouterr().err


class Terminal:
    """A terminal with a watch on it.

    Attributes:
        seen: everything that was written there.
    """

    def __init__(self, ours: int, process: subprocess.Popen[bytes]) -> None:
        self.seen = b""
        self.process = process
        self._ours = ours

    def resize(self, columns: int, lines: int) -> None:
        """As a user does who drags its corner."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def await_text(self, text: bytes, meanwhile: Callable[[], None]) -> None:
        """Read until a text is there."""
        end = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            meanwhile()
            self.seen += os.read(self._ours, 65_536)

    def read_to_end(self) -> None:
        """Read until nobody has the terminal any more."""
        with suppress(OSError):
            while data := os.read(self._ours, 65_536):
                self.seen += data


@contextmanager
def terminal(directory: Path, port: int) -> Iterator[Terminal]:
    """Start a watch on a terminal of 160 columns and 40 lines; it is ended at the end."""
    (directory / "key").write_text(KEY)
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    process = subprocess.Popen(
        [
            *(*AMPHORACTL, "watch"),
            *("--key-file", str(directory / "key"), "--listen", f"127.0.0.1:{port}"),
        ],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"PATH": os.environ["PATH"], "TERM": "xterm"},
    )
    os.close(theirs)
    made = Terminal(ours, process)
    try:
        yield made
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"Traceback" not in made.seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_table_is_drawn_on_a_terminal(
    tmp_path: Path, port: int, amphora: Amphora, number: signal.Signals
) -> None:
    """On a terminal there is a table with the amphora; Ctrl-C and SIGTERM end it with 0."""
    with terminal(tmp_path, port) as shown:
        shown.await_text(b"1 (1 ERROR)", lambda: amphora.beat("DOWN"))
        shown.process.send_signal(number)
        shown.read_to_end()
        assert shown.process.wait(timeout=DEADLINE_S) == 0
    assert AMPHORA.encode() in shown.seen
    # The cursor was hidden and is shown again.
    assert shown.seen.rindex(b"\x1b[?25h") > shown.seen.rindex(b"\x1b[?25l")


def test_table_follows_the_size_of_the_terminal(
    tmp_path: Path, port: int, amphora: Amphora
) -> None:
    """When the terminal gets narrow the table is drawn anew, and fits into it."""
    clear = b"\x1b[2J"
    with terminal(tmp_path, port) as shown:
        shown.await_text(b"1 (1 ERROR)", lambda: amphora.beat("DOWN"))
        assert clear not in shown.seen
        shown.resize(60, 12)
        shown.await_text(clear, lambda: amphora.beat("DOWN"))
        shown.process.terminate()
        shown.read_to_end()
        assert shown.process.wait(timeout=DEADLINE_S) == 0
    wide, narrow = (
        [
            len(re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", line).decode())
            for line in re.split(rb"[\r\n]", part)
        ]
        for part in shown.seen.split(clear)
    )
    assert max(wide) > 60
    assert max(narrow) == 60


def test_reader_that_ends_ends_the_watch(tmp_path: Path, port: int, amphora: Amphora) -> None:
    """When nobody reads the lines any more the watch ends, without a traceback."""
    (tmp_path / "key").write_text(KEY)
    process = subprocess.Popen(
        [
            *(*AMPHORACTL, "watch", "--json"),
            *("--key-file", str(tmp_path / "key"), "--listen", f"127.0.0.1:{port}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        Watch(process, tmp_path, tmp_path).await_ear(port)
        amphora.beat("UP")
        assert b"ALIVE" in process.stdout.readline()
        process.stdout.close()
        for _ in range(100):
            amphora.beat("DOWN" if amphora.sequence % 2 else "UP")
        assert process.wait(timeout=DEADLINE_S) == 0
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
