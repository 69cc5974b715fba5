# SPDX-License-Identifier: Apache-2.0
"""What counts as a stall of the machine."""

import os
import signal
import time

from tests.support.metronome import Metronome, Stall, metronome, stalled_s


def test_stalls_count_only_where_they_overlap() -> None:
    """Of two stalls the parts between the two times count, and nothing else."""
    stalls = [Stall(begin_s=1.0, end_s=2.0), Stall(begin_s=5.0, end_s=9.0)]
    assert stalled_s(stalls, 1.5, 6.0) == 1.5
    assert stalled_s(stalls, 2.0, 5.0) == 0
    assert stalled_s([], 0.0, 10.0) == 0


def test_metronome_that_stood_still_says_when() -> None:
    """A process that is not run for half a second has a stall of about that length."""
    with metronome() as made:
        time.sleep(0.3)
        begin_s = time.monotonic()
        os.kill(pid(made), signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(pid(made), signal.SIGCONT)
        end_s = time.monotonic()
        time.sleep(0.3)
        assert stalled_s(made.stalls(), begin_s, end_s) >= 0.4


def pid(made: Metronome) -> int:
    """Its process."""
    return made._process.pid
