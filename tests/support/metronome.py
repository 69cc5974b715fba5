# SPDX-License-Identifier: Apache-2.0
"""Tells a machine that stood still from a program that did.

A process of its own, which does nothing but wake up on a grid of times, writes down each time that
it woke up late. When it was on time and the program under test was not, the pause is the program's.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_DEADLINE_S = 30.0

# Prints when it should have woken up and when it did, if that is more than a tenth of a second.
_PROGRAM = """
import sys, time
due = time.monotonic()
while True:
    due += 0.05
    time.sleep(max(0.0, due - time.monotonic()))
    now = time.monotonic()
    if now - due > 0.1:
        print(due, now, flush=True)
        due = now
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stall:
    """The machine ran nothing between these two times on the clock of time.monotonic()."""

    begin_s: float
    end_s: float


class Metronome:
    """The process, and what it has written down."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._stalls: list[Stall] | None = None

    def stalls(self) -> list[Stall]:
        """Every stall since the start; ends the process."""
        if self._stalls is None:
            self._process.terminate()
            said, _ = self._process.communicate(timeout=_DEADLINE_S)
            times = (line.split() for line in said.splitlines())
            self._stalls = [Stall(begin_s=float(due), end_s=float(woke)) for due, woke in times]
        return self._stalls


def stalled_s(stalls: list[Stall], begin_s: float, end_s: float) -> float:
    """For how long the machine stood still between two times."""
    return sum(max(0.0, min(stall.end_s, end_s) - max(stall.begin_s, begin_s)) for stall in stalls)


@contextmanager
def metronome() -> Iterator[Metronome]:
    """Start one; it has ended afterwards."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True
    ) as process:
        made = Metronome(process)
        try:
            yield made
        finally:
            made.stalls()
