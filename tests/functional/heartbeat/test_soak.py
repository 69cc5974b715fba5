# SPDX-License-Identifier: Apache-2.0
"""Faults at random while clients are served: heartbeats never pause, and no byte is lost.

AMPHORA_SOAK_S is how long it lasts (40 s if unset; 1800 by hand), AMPHORA_SOAK_SEED repeats a run.

Two load balancers are asked all the time. The steady one is reloaded at any moment, and its sums
must be exact. The other one is also killed: what haproxy served after the last look at that worker
goes with it, and nothing else may be missing.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import need
from tests.support.heartbeat_haproxy import StartHaproxy
from tests.support.heartbeat_lab import DEADLINE_S, REFUSED, Amphora, Opener
from tests.support.heartbeat_load import REQUEST_MAX_BYTES, Load, Sums, Told, load, member
from tests.support.heartbeats import Listener
from tests.support.metronome import metronome

pytestmark = pytest.mark.slow

INTERVAL_S = 1.0
_SMALL_DISK = "256k"


@dataclass(kw_only=True)
class Soak:
    """Everything that the faults are done to."""

    amphora: Amphora
    entry: str
    clock: Path
    told: Told
    steady: Load
    shaken: Load
    sender: subprocess.Popen[bytes]
    environment: dict[str, str]
    # At most this much of the shaken one's traffic went with its workers.
    lost: Sums = field(default_factory=Sums)

    def hang(self) -> None:
        """A worker of either load balancer stops for a while."""
        worker = random.choice([self.steady, self.shaken]).haproxy.await_worker()
        os.kill(worker, signal.SIGSTOP)
        try:
            self.told.wait(random.randint(1, 3))
        finally:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)
        self.told.wait_for_look()

    def hang_and_reload(self) -> None:
        """A worker of the steady one stops, and is replaced before it goes on."""
        haproxy = self.steady.haproxy
        worker = haproxy.await_worker()
        os.kill(worker, signal.SIGSTOP)
        try:
            self.told.wait(random.randint(0, 2))
            haproxy.replace_worker(worker)
            self.told.wait(random.randint(0, 2))
        finally:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)
        self.told.wait_for_look()

    def reload(self) -> None:
        """The steady one gets a new worker, and a client keeps the old one for a while."""
        haproxy = self.steady.haproxy
        with haproxy.held():
            haproxy.replace_worker()
            self.told.wait(3)

    def reload_at_once(self) -> None:
        """Each gets a new worker, and nobody but the sender keeps the old one."""
        self.steady.haproxy.replace_worker()
        self.shaken.haproxy.replace_worker()
        # A worker that is replaced before the sender has met it takes along what it counted.
        self.told.wait_for_look()

    def kill(self) -> None:
        """The other one dies, and is started again by what would be systemd."""
        told = self.told.of(self.shaken.haproxy)
        self.shaken.haproxy.kill()
        time.sleep(random.random())
        self.shaken.haproxy.start()
        # Whatever the old worker served and no heartbeat has told by now may be gone.
        self.told.wait(2)
        open_one = Sums(rx=REQUEST_MAX_BYTES, tx=2 * REQUEST_MAX_BYTES, count=1)
        self.lost += self.shaken.done + open_one - told

    def lose_controller(self) -> None:
        """The kernel refuses one of two controllers for a while."""
        self.amphora.configure([REFUSED, self.entry], interval=str(INTERVAL_S))
        self.told.wait(3)
        self.amphora.configure([self.entry], interval=str(INTERVAL_S))

    def step_clock(self) -> None:
        """The wall clock of the sender goes an hour forth or back."""
        self.clock.write_text(random.choice(["+3600s", "-3600s", "+0s"]))
        self.told.wait(2)

    def fill_disk(self) -> None:
        """No counter can be stored for a while."""
        filler = self.amphora.base / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(b"x" * 4096)
        self.told.wait(3)
        filler.unlink()
        # What was not stored meanwhile is, before anything restarts.
        self.told.wait(2)

    def restart_sender(self) -> None:
        """The sender is stopped and started."""
        self.sender.send_signal(signal.SIGTERM)
        assert self.sender.wait(timeout=DEADLINE_S) == 0
        self.sender = self.amphora.start(**self.environment)
        # One that has only begun to start knows no way to end but the signal's own.
        self.told.wait(1)


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of a few pages in a directory."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK},mode=755", "tmpfs", str(directory)],
        check=True,
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def faketime_library() -> Path:
    """libfaketime, which steps the clock of one process."""
    found = [
        path
        for place in ("/usr/lib", "/usr/lib64")
        for path in Path(place).glob("**/faketime/libfaketime.so.1")
    ]
    if not found:
        need.missing("libfaketime is not installed")
    return found[0]


def test_faults_cost_no_heartbeat_and_no_byte(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
    record_property: Callable[[str, object], None],
) -> None:
    """No pause is longer than two intervals, and the sums are those of the clients."""
    need.root()
    length_s = float(os.environ.get("AMPHORA_SOAK_S", "40"))
    seed = int(os.environ.get("AMPHORA_SOAK_SEED", time.time_ns() % 1_000_000))
    record_property("seed", seed)
    print(f"AMPHORA_SOAK_SEED={seed}")
    random.seed(seed)
    heard, entry = manager
    clock = amphora.config.with_name("clock")
    clock.write_text("+0s")
    environment = {
        "LD_PRELOAD": str(faketime_library()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    with small_disk(amphora.base), member() as port, metronome() as machine:
        steady, shaken = (start_haproxy(number, tcp_member=port) for number in (1, 2))
        amphora.configure([entry], interval=str(INTERVAL_S))
        told = Told(heard, octavia)
        with load(steady) as steady_load, load(shaken) as shaken_load:
            soak = Soak(
                amphora=amphora,
                entry=entry,
                clock=clock,
                told=told,
                steady=steady_load,
                shaken=shaken_load,
                sender=amphora.start(**environment),
                environment=environment,
            )
            told.wait(2)
            faults = [
                *(soak.hang, soak.hang_and_reload, soak.reload, soak.reload_at_once, soak.kill),
                *(soak.lose_controller, soak.step_clock, soak.fill_disk, soak.restart_sender),
            ]
            until_s = time.monotonic() + length_s
            rounds: list[str] = []
            while time.monotonic() < until_s:
                # Each fault once before any comes again.
                for fault in random.sample(faults, len(faults)):
                    if time.monotonic() < until_s:
                        rounds.append(fault.__name__)
                        fault()
        clients = steady_load.done
        told.wait(4)
        exact, other = told.of(steady), told.of(shaken)
        stalls = machine.stalls()
        pause_s = told.longest_pause_s(stalls)
        print(
            f"{len(heard.received())} heartbeats, {len(rounds)} faults, longest pause"
            f" {told.longest_pause_s([]):.2f} s, {pause_s:.2f} s without the machine's"
            f" {len(stalls)} stalls"
            f"\nsteady: {clients} served, {exact} told, {steady_load.failed} failed"
            f"\nshaken: {shaken_load.done} served, {other} told, {shaken_load.failed} failed"
        )
        amphora.stop()
        for haproxy in (steady, shaken):
            haproxy.close()
    assert pause_s <= 2 * INTERVAL_S, rounds
    assert exact == clients, (clients - exact, rounds)
    missing = shaken_load.done - other
    assert missing.count <= soak.lost.count, rounds
    assert missing.tx <= soak.lost.tx, rounds
    # Nothing is told twice: only what a client saw broken off may have been served as well.
    assert missing.count >= -shaken_load.failed, rounds
    assert missing.tx >= -shaken_load.failed * 2 * REQUEST_MAX_BYTES, rounds


def test_small_disk_is_full_and_nothing_is_billed_twice(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """The sender goes on with a full disk; after a restart it tells only what came since."""
    need.root()
    heard, entry = manager
    with small_disk(amphora.base):
        haproxy = start_haproxy(1)
        amphora.configure([entry])
        sender = amphora.start()
        told = Told(heard, octavia)
        haproxy.serve(5)
        told.wait(3)
        filler = amphora.base / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(b"x" * 4096)
        served = 5
        # Lines of counters still fit into the last page of their file.
        while "cannot be written" not in amphora.journal():
            assert served < 300
            haproxy.serve(1)
            served += 1
            told.wait(1)
        told.wait(2)
        assert told.of(haproxy).count == served
        sender.kill()
        sender.wait(timeout=DEADLINE_S)
        filler.unlink()
        amphora.start()
        told.wait(3)
        haproxy.serve(1)
        told.wait(3)
        assert told.of(haproxy).count == served + 1
        amphora.stop()
        haproxy.close()
