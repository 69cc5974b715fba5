# SPDX-License-Identifier: Apache-2.0
"""The watch itself: datagrams come in, what changed comes out, and the store has it first."""

import datetime
from collections import Counter
from dataclasses import dataclass, field

from amphora_controller.heartbeat.envelope import Fault, Refused
from amphora_controller.heartbeat.message import Heartbeat, opened
from amphora_controller.watch import changes
from amphora_controller.watch.changes import Event, Known
from amphora_controller.watch.ears import Datagram
from amphora_controller.watch.store import NotStored, Numbered, Store
from amphora_controller.watch.traffic import Rates, rates

# Longer than this the watch was not listening, but stopped or waiting for its disk.
_STALL_S = 2.0
# Of the kinds that there are, the shorter one; enough to tell datagrams apart.
_SIGNATURE_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long is too long, and how many too many.

    Attributes:
        silent_s: without a heartbeat an amphora is silent; [health_manager] heartbeat_timeout.
        forget_s: a silent one is forgotten.
        amphorae: no more are watched; a key that leaked must not fill memory.
    """

    silent_s: float = 60.0
    forget_s: float = 86_400.0
    amphorae: int = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Now, on two clocks.

    Attributes:
        monotonic_s: only goes forward.
        at: aware.
    """

    monotonic_s: float
    at: datetime.datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Last:
    """The last heartbeat of an amphora.

    Attributes:
        signature: of its datagram; no two that differ have the same.
        heard_s: when, on the watch's own clock; see Watcher.
    """

    heartbeat: Heartbeat
    signature: bytes
    heard_s: float
    rates: Rates | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """A heartbeat that was taken.

    Attributes:
        events: what changed with it.
    """

    amphora_id: str
    events: list[Numbered]


@dataclass(slots=True)
class Tally:
    """What was counted since the watch's start.

    Attributes:
        refused_from: the address that the last refused datagram of each kind came from.
        repeated: heartbeats that came once more, and were passed over.
        repeated_from: the address that the last of those came from.
        over_limit: heartbeats of amphorae beyond those that can be watched.
        not_stored: changes that could not be written down; each is found again.
        trouble: why the last one could not; empty when all is well.
    """

    heartbeats: int = 0
    refused: Counter[Fault] = field(default_factory=Counter)
    refused_from: dict[Fault, str] = field(default_factory=dict)
    repeated: int = 0
    repeated_from: str = ""
    over_limit: int = 0
    not_stored: int = 0
    trouble: str = ""


class Watcher:
    """Who is there and how they are.

    Its clock goes only while it listens: when the watch was stopped, amphorae were not silent.

    A heartbeat that is the last one once more, sequence and all, was captured and is sent again, or
    the network doubled it. It is passed over: a dead amphora would seem to live. Octavia takes it.
    """

    def __init__(self, store: Store, key: str, limits: Limits) -> None:
        self.known: dict[str, Known] = store.known()
        self.last: dict[str, Last] = {}
        self.tally = Tally()
        self.clock_s = 0.0
        self._store = store
        self._key = key
        self._limits = limits
        self._monotonic_s: float | None = None
        self._heard_s = dict.fromkeys(self.known, 0.0)

    def datagram(self, datagram: Datagram, now: Moment) -> Heard | None:
        """Take a datagram; None if it is nothing to be heard, which was counted."""
        self._advance(now)
        try:
            heartbeat = opened(datagram.payload, self._key)
        except Refused as exc:
            self.tally.refused[exc.fault] += 1
            self.tally.refused_from[exc.fault] = datagram.source
            return None
        amphora_id, signature = heartbeat.amphora_id, datagram.payload[-_SIGNATURE_BYTES:]
        before = self.last.get(amphora_id)
        if before and heartbeat.sequence is not None and before.signature == signature:
            self.tally.repeated += 1
            self.tally.repeated_from = datagram.source
            return None
        if amphora_id not in self._heard_s and len(self._heard_s) >= self._limits.amphorae:
            self.tally.over_limit += 1
            return None
        self.tally.heartbeats += 1
        self.last[amphora_id] = Last(
            heartbeat=heartbeat,
            signature=signature,
            heard_s=self.clock_s,
            rates=rates(
                heartbeat,
                before=before.heartbeat if before else None,
                elapsed_s=self.clock_s - before.heard_s if before else 0.0,
            ),
        )
        self._heard_s[amphora_id] = self.clock_s
        known, events = changes.heard(
            self.known.get(amphora_id), heartbeat, datagram.source, now.at
        )
        return Heard(amphora_id=amphora_id, events=self._record(known, events))

    def tick(self, now: Moment) -> list[Numbered]:
        """Let time pass; to be called at least every second. Gives who fell silent."""
        self._advance(now)
        found: list[Numbered] = []
        for amphora_id, heard_s in list(self._heard_s.items()):
            unheard_s = self.clock_s - heard_s
            if unheard_s < self._limits.silent_s:
                continue
            if unheard_s >= self._limits.forget_s:
                self._forget(amphora_id)
            elif amphora_id in self.known:
                found += self._record(*changes.silent(self.known[amphora_id], now.at))
        return found

    def silent_for_s(self, amphora_id: str) -> float:
        """How long an amphora was not heard."""
        return self.clock_s - self._heard_s.get(amphora_id, self.clock_s)

    def _advance(self, now: Moment) -> None:
        if self._monotonic_s is not None:
            self.clock_s += min(now.monotonic_s - self._monotonic_s, _STALL_S)
        self._monotonic_s = now.monotonic_s

    def _record(self, known: Known, events: tuple[Event, ...]) -> list[Numbered]:
        """Write down what is known, and only then know it."""
        if known == self.known.get(known.amphora_id):
            return []
        try:
            numbered = self._store.record(known, events)
        except NotStored as exc:
            self.tally.not_stored += 1
            self.tally.trouble = str(exc)
            return []
        self.tally.trouble = ""
        self.known[known.amphora_id] = known
        return numbered

    def _forget(self, amphora_id: str) -> None:
        try:
            self._store.forget(amphora_id)
        except NotStored as exc:
            self.tally.trouble = str(exc)
            return
        for table in (self.known, self.last, self._heard_s):
            table.pop(amphora_id, None)
