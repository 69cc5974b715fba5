# SPDX-License-Identifier: Apache-2.0
"""Telling a sink every event, in order, until it has taken it."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Protocol

from amphora_controller.errors import ControllerError
from amphora_controller.watch.store import NotStored, Numbered, Store

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class Untold(Exception):
    """A sink did not take an event; it says why, without secrets."""


class Sink(Protocol):
    """Somebody who is told events.

    Attributes:
        name: by which the store knows how far it was told; the same from start to start.
    """

    @property
    def name(self) -> str:
        """See above."""

    def tell(self, event: Numbered) -> None:
        """Tell one event, within a time of the sink's own.

        Raises:
            Untold: it was not taken, or nobody knows; it will be told again.
        """


class Delivery:
    """A thread that tells one sink what the store has for it.

    An event is told at least once: after a kill between the telling and the note of it, it is told
    again under the same number. Whoever does not take one is asked again after 1 s, 2 s, 4 s, and
    at last every 60 s, and gets nothing else before.

    Attributes:
        trouble: why the last try failed; empty when it did not.
        told: events that were taken.
        dropped: events that were given up, as too many waited.
    """

    def __init__(self, sink: Sink, path: Path) -> None:
        self.trouble = ""
        self.told = 0
        self.dropped = 0
        self._sink = sink
        self._path = path
        self._news = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tell-{sink.name}", daemon=True)
        with closing(Store(path)) as store:
            store.add_sink(sink.name)

    @property
    def name(self) -> str:
        """Of the sink."""
        return self._sink.name

    def start(self) -> None:
        """Begin with what is left from the start before."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there are new events."""
        self._news.set()

    def end(self, *, wait_s: float) -> None:
        """End it, after the event that is being told; what is left is told at the next start."""
        self._ended.set()
        self._news.set()
        self._thread.join(wait_s)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._ended.is_set():
            before = self.told
            try:
                with closing(Store(self._path)) as store:
                    self._tell_on(store)
            except (Untold, NotStored, ControllerError, sqlite3.Error) as exc:
                self.trouble = str(exc)
            if self.told > before:
                pause_s = _FIRST_PAUSE_S
            self._ended.wait(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _tell_on(self, store: Store) -> None:
        """Tell what there is and what comes, until the end or the first failure."""
        while not self._ended.is_set():
            self._news.clear()
            while not self._ended.is_set() and self._tell_next(store):
                pass
            self._news.wait()

    def _tell_next(self, store: Store) -> bool:
        """Tell the next event; False if there is none."""
        event = store.next_for(self.name)
        if event is not None:
            dropped = store.dropped(self.name)
            self._sink.tell(event)
            store.told(self.name, event.number)
            self.told += 1
            self.dropped += dropped
        self.trouble = ""
        return event is not None
