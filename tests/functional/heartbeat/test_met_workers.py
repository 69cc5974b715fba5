# SPDX-License-Identifier: Apache-2.0
"""Workers that a signal has the sender meet between two heartbeats, here an hour apart."""

import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import waiting
from tests.support.heartbeat_haproxy import Haproxy, StartHaproxy
from tests.support.heartbeat_lab import DEADLINE_S, Amphora, Opener
from tests.support.heartbeat_load import Told
from tests.support.heartbeats import Listener


@dataclass(frozen=True, kw_only=True)
class Sender:
    """A sender that has sent its first heartbeat, and what it has told.

    Attributes:
        alone: how many sockets it has while no worker but the one that serves is kept.
    """

    amphora: Amphora
    process: subprocess.Popen[bytes]
    entry: str
    told: Told
    alone: int

    def signal(self) -> None:
        """Say that something was reloaded, and wait until that is heard."""
        self.process.send_signal(signal.SIGHUP)
        waiting.until(
            "the signal to be taken",
            lambda: not _is_pending(self.process.pid, signal.SIGHUP) or None,
            deadline_s=DEADLINE_S,
            every_s=0.01,
        )

    def await_kept(self, count: int) -> None:
        """Wait until so many connections were made since the last heartbeat, or are left."""
        waiting.until(
            f"{count} connections",
            lambda: _sockets(self.process.pid) == self.alone + count or None,
            deadline_s=DEADLINE_S,
            every_s=0.02,
        )

    def hurry(self) -> None:
        """Send heartbeats one after the other from now on."""
        self.amphora.configure([self.entry], interval="0.4")
        self.signal()


@pytest.fixture
def haproxy(start_haproxy: StartHaproxy) -> Haproxy:
    """One that serves."""
    return start_haproxy(1)


@pytest.fixture
def sender(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener, haproxy: Haproxy
) -> Sender:
    """A sender that has asked haproxy once, and would do so in an hour again."""
    assert haproxy.await_worker()
    heard, entry = manager
    amphora.configure([entry], interval="3600")
    process = amphora.start()
    heard.next(deadline_s=DEADLINE_S)
    amphora.systemd.hear_until("STATUS=heartbeat")
    return Sender(
        amphora=amphora,
        process=process,
        entry=entry,
        told=Told(heard, octavia),
        alone=_sockets(process.pid),
    )


def test_worker_of_less_than_a_period_is_counted(sender: Sender, haproxy: Haproxy) -> None:
    """Each reload replaces a worker that no heartbeat has asked; what it served is told, once."""
    haproxy.serve(2)
    for number in (1, 2, 3):
        haproxy.replace_worker()
        sender.signal()
        sender.await_kept(number)
        haproxy.serve(3)
    sender.hurry()
    sender.told.await_sessions(haproxy, 11)
    sender.amphora.beats(3)
    assert sender.told.of(haproxy).count == 11
    sender.await_kept(0)


def test_signals_without_a_reload_leave_haproxy_room_for_others(
    sender: Sender, haproxy: Haproxy
) -> None:
    """However many signals come, a few connections are made, and closed by the next heartbeat."""
    for _ in range(20):
        sender.signal()
    sender.await_kept(4)
    assert haproxy.await_worker()
    haproxy.serve(2)
    sender.hurry()
    sender.told.await_sessions(haproxy, 2)
    sender.await_kept(0)
    sender.amphora.beats(2)
    assert sender.told.of(haproxy).count == 2


def _sockets(pid: int) -> int:
    """How many sockets a process has."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # One may be closed meanwhile.
        with suppress(FileNotFoundError):
            links.append(str(link.readlink()))
    return sum(link.startswith("socket:") for link in links)


def _is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal was sent to a process that has not taken it yet."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [mask] = [line.split()[1] for line in lines if line.startswith("ShdPnd:")]
    return bool(int(mask, 16) & 1 << number - 1)
