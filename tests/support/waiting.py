# SPDX-License-Identifier: Apache-2.0
"""Waiting with a deadline, and a message that says what was awaited."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class DeadlinePassedError(AssertionError):
    """What was awaited did not happen in time."""


def until(what: str, probe: Callable[[], T | None], *, deadline_s: float, every_s: float) -> T:
    """Call `probe` until it returns something other than None.

    Raises:
        DeadlinePassedError: nothing came within `deadline_s` seconds.
    """
    end = time.monotonic() + deadline_s
    while True:
        found = probe()
        if found is not None:
            return found
        if time.monotonic() >= end:
            raise DeadlinePassedError(f"waited {deadline_s:.0f} s for {what}")
        time.sleep(every_s)
