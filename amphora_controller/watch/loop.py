# SPDX-License-Identifier: Apache-2.0
"""The loop of the watch: hear, know, tell, show."""

import datetime
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from amphora_controller.errors import ControllerError
from amphora_controller.watch.certificates import Certificates
from amphora_controller.watch.delivery import Delivery, Sink
from amphora_controller.watch.ears import Datagram, Ears
from amphora_controller.watch.forward import Forward
from amphora_controller.watch.screen import Screen
from amphora_controller.watch.store import NotStored, Numbered, Store
from amphora_controller.watch.view import Row, SinkRow, View, in_order, row
from amphora_controller.watch.watcher import Limits, Moment, Watcher

_TICK_S = 0.5
_SHOW_S = 1.0
_END_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a watch is made of.

    Attributes:
        path: the store's file; None remembers nothing.
        sinks: who is told; a store in a file is needed for them.
        forward: is given each datagram as it came; None gives it to nobody.
        certificates: None asks nobody.
    """

    ears: Ears
    key: str
    limits: Limits
    path: Path | None
    sinks: Sequence[Sink]
    screen: Screen
    forward: Forward | None = None
    certificates: Certificates | None = None


def watch(parts: Parts, ended: threading.Event) -> None:
    """Watch until it is ended.

    Raises:
        ControllerError: nothing can be written down from the beginning.
    """
    with ExitStack() as stack:
        try:
            store = stack.enter_context(closing(Store(parts.path)))
            deliveries = [Delivery(sink, parts.path) for sink in parts.sinks if parts.path]
        except (NotStored, sqlite3.Error) as exc:
            raise ControllerError(f"{parts.path} cannot be written", str(exc)) from exc
        run = _Run(parts, store, deliveries)
        for delivery in deliveries:
            delivery.start()
            stack.callback(delivery.end, wait_s=_END_S)
        if parts.certificates is not None:
            parts.certificates.start()
            stack.callback(parts.certificates.end)
        run.until(ended)


class _Run:
    """One run of the loop."""

    def __init__(self, parts: Parts, store: Store, deliveries: list[Delivery]) -> None:
        self._parts = parts
        self._store = store
        self._deliveries = deliveries
        self._watcher = Watcher(store, parts.key, parts.limits)
        self._ticked_s = self._shown_s = -_SHOW_S

    def until(self, ended: threading.Event) -> None:
        """Go round until it is ended."""
        while not ended.is_set():
            for datagram in self._parts.ears.hear(wait_s=_TICK_S):
                self._take(datagram)
            # Both look at every amphora, so not after each datagram.
            now = _now()
            if now.monotonic_s - self._ticked_s >= _TICK_S:
                self._ticked_s = now.monotonic_s
                self._tell(self._watcher.tick(now))
            if now.monotonic_s - self._shown_s >= _SHOW_S:
                self._shown_s = now.monotonic_s
                self._parts.screen.show(self._view(now.at))

    def _take(self, datagram: Datagram) -> None:
        if self._parts.forward is not None:
            self._parts.forward.send(datagram.payload)
        now = _now()
        heard = self._watcher.datagram(datagram, now)
        if heard is None:
            return
        self._tell(heard.events)
        # Nothing is known of it if that could not be written down.
        if heard.amphora_id in self._watcher.known:
            heartbeat = self._watcher.last[heard.amphora_id].heartbeat
            self._parts.screen.heard(self._row(heard.amphora_id, now.at), heartbeat, now.at)

    def _tell(self, events: Sequence[Numbered]) -> None:
        if events:
            self._parts.screen.changed(events)
            for delivery in self._deliveries:
                delivery.wake()

    def _view(self, at: datetime.datetime) -> View:
        rows = [self._row(amphora_id, at) for amphora_id in self._watcher.known]
        if self._parts.certificates is not None:
            self._parts.certificates.keep_only({found.address for found in rows})
        forward = self._parts.forward
        return View(
            rows=in_order(rows),
            tally=self._watcher.tally,
            sinks=tuple(
                SinkRow(
                    name=delivery.name,
                    waiting=self._store.waiting(delivery.name),
                    dropped=delivery.dropped + self._store.dropped(delivery.name),
                    trouble=delivery.trouble,
                )
                for delivery in self._deliveries
            ),
            lost=forward.lost if forward else 0,
            lost_reason=forward.trouble if forward else "",
            shows_days=self._parts.certificates is not None,
        )

    def _row(self, amphora_id: str, at: datetime.datetime) -> Row:
        known = self._watcher.known[amphora_id]
        asked = self._parts.certificates
        return row(
            known,
            self._watcher.last.get(amphora_id),
            unheard_s=self._watcher.silent_for_s(amphora_id),
            validity=asked.of(known.address) if asked else None,
            now=at,
        )


def _now() -> Moment:
    return Moment(monotonic_s=time.monotonic(), at=datetime.datetime.now(datetime.UTC))
