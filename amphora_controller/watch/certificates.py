# SPDX-License-Identifier: Apache-2.0
"""Until when amphorae's certificates are valid, asked beside the watch."""

import datetime
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from amphora_controller.amphora.client import Amphora
from amphora_controller.errors import ControllerError

# Octavia's housekeeping looks once an hour, and renews two weeks before the end.
_AGAIN_S = 6 * 3600.0
_RETRY_S = 600.0
_IDLE_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Validity:
    """What is known of a certificate.

    Attributes:
        until: its end, aware; None if the amphora did not show it.
        reason: why it did not.
    """

    until: datetime.datetime | None
    reason: str = ""


class Certificates:
    """A thread that asks one amphora after the other for its certificate.

    Args:
        client: how an address is asked.
    """

    def __init__(self, client: Callable[[str], Amphora]) -> None:
        self._client = client
        self._found: dict[str, Validity] = {}
        self._due_s: dict[str, float] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="certificates", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def end(self) -> None:
        """Ask nobody any more; an amphora that is being asked is not waited for."""
        self._ended.set()

    def of(self, address: str) -> Validity | None:
        """What is known of an amphora; None before it was asked, which it will be."""
        with self._lock:
            self._due_s.setdefault(address, 0.0)
            return self._found.get(address)

    def keep_only(self, addresses: set[str]) -> None:
        """Forget all others."""
        with self._lock:
            for address in self._due_s.keys() - addresses:
                del self._due_s[address]
                self._found.pop(address, None)

    def _run(self) -> None:
        while not self._ended.is_set():
            address = self._next(time.monotonic())
            if address is None:
                self._ended.wait(_IDLE_S)
                continue
            found = _ask(self._client(address))
            wait_s = _AGAIN_S if found.until else _RETRY_S
            with self._lock:
                if address in self._due_s:
                    self._found[address] = found
                    self._due_s[address] = time.monotonic() + wait_s

    def _next(self, now_s: float) -> str | None:
        with self._lock:
            due = [(due_s, address) for address, due_s in self._due_s.items() if due_s <= now_s]
        return min(due)[1] if due else None


def _ask(amphora: Amphora) -> Validity:
    try:
        with amphora.connect() as session:
            return Validity(until=session.certificate.not_valid_after_utc)
    except ControllerError as exc:
        return Validity(until=None, reason=exc.message)
