# SPDX-License-Identifier: Apache-2.0
"""Sends each datagram to one controller, in turn, and counts how it went."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from amphora_agent.errors import AgentError
from amphora_agent.sender.journal import Journal
from amphora_agent.settings_values import Controller
from amphora_agent.system.datagram import DatagramSender


@dataclass(slots=True)
class Tally:
    """What was sent to one controller since the sender started; times in seconds since 1970."""

    sent: int = 0
    failed: int = 0
    failed_in_a_row: int = 0
    last_sent_s: float | None = None
    last_failed_s: float | None = None
    last_error: str = ""


@dataclass(slots=True)
class Transmission:
    """The controllers, and whose turn it is."""

    journal: Journal
    datagrams: DatagramSender
    tallies: dict[Controller, Tally] = field(default_factory=dict)
    _controllers: Sequence[Controller] = ()
    _turn: int = 0

    def send(self, data: bytes, controllers: Sequence[Controller]) -> Controller | None:
        """Send to the controller whose turn it is; the next ones stand in if that fails here.

        Never to two: they share one database, which would count the traffic twice. A local
        failure is no risk, as the kernel then has sent nothing.
        """
        if controllers is not self._controllers:
            self._controllers = controllers
            self.tallies = {item: self.tallies.get(item, Tally()) for item in controllers}
        for _ in controllers:
            controller = controllers[self._turn % len(controllers)]
            self._turn += 1
            tally = self.tallies[controller]
            topic = f"controller {controller}"
            try:
                self.datagrams.send(data, controller.host, controller.port, now_s=time.monotonic())
            except AgentError as exc:
                tally.failed += 1
                tally.failed_in_a_row += 1
                tally.last_failed_s = time.time()
                tally.last_error = str(exc)
                self.journal.trouble(topic, exc.message, exc.details)
                continue
            again = f"{controller} is sent to again after {tally.failed_in_a_row} failures"
            self.journal.fine(topic, again)
            tally.sent += 1
            tally.failed_in_a_row = 0
            tally.last_sent_s = time.time()
            return controller
        return None
