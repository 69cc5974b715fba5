# SPDX-License-Identifier: Apache-2.0
"""What has happened since the agent started, counted."""

import threading
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum


class Event(StrEnum):
    """What is counted, and by what.

    Attributes:
        REQUEST: a request of the API; by route, method and status.
        APPLY: a configuration of haproxy that took effect; by the way in which it did.
    """

    REQUEST = "request"
    APPLY = "apply"


class Counters:
    """Counts of events; any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Event, Counter[tuple[str, ...]]] = {event: Counter() for event in Event}

    def add(self, event: Event, *values: str) -> None:
        """Count an event.

        Args:
            values: what it is counted by; of few different ones, as each is remembered for good.
        """
        with self._lock:
            self._counts[event][values] += 1

    def counts(self, event: Event) -> Mapping[tuple[str, ...], int]:
        """How often an event has happened, by what it is counted by."""
        with self._lock:
            return dict(self._counts[event])
