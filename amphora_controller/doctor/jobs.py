# SPDX-License-Identifier: Apache-2.0
"""Work that goes on beside other work, and that nobody waits for longer than was agreed.

Libraries have time-outs for each step and retries around them; only a thread that may be left
behind keeps a promise about the whole.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from amphora_controller.doctor.findings import Late

T = TypeVar("T")


class Job(Generic[T]):
    """One piece of work, in a daemon thread."""

    def __init__(self, work: Callable[[], T], *, begin_s: float, end_s: float) -> None:
        self._work = work
        self._limit_s = end_s - begin_s
        self._end_s = end_s
        self._outcome: list[T] = []
        self._error: BaseException | None = None
        # Thread.join fails now and then where several wait for one thread (Python 3.11).
        self._ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def result(self) -> T:
        """What the work gave, or raises what it raised.

        Raises:
            Late: it has not ended at the end of the time.
        """
        if not self._ended.wait(max(0.0, self._end_s - time.monotonic())):
            raise Late(self._limit_s)
        if self._error is not None:
            raise self._error
        return self._outcome[0]

    def _run(self) -> None:
        try:
            self._outcome.append(self._work())
        except BaseException as exc:  # noqa: BLE001  # raised again where the result is wanted
            self._error = exc
        finally:
            self._ended.set()


class Jobs:
    """Jobs that all end at one time."""

    def __init__(self, limit_s: float) -> None:
        self.begin_s = time.monotonic()
        self.end_s = self.begin_s + limit_s

    def start(self, work: Callable[[], T]) -> Job[T]:
        """Begin a piece of work."""
        return Job(work, begin_s=self.begin_s, end_s=self.end_s)

    @property
    def left_s(self) -> float:
        """How much time is left."""
        return max(0.0, self.end_s - time.monotonic())
