# SPDX-License-Identifier: Apache-2.0
"""What a heartbeat costs before anything is asked: to wake up, to encode a message, to send it."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from amphora_agent.heartbeat.message import encode
from amphora_agent.system.datagram import DatagramSender
from bench.heartbeat import sizes

_MEMBERS = 10
_WARM_UP, _PERIODS = 3, 20
_INTERVAL_S = 1.0


def table() -> str:
    """Rows in Markdown, of this very process; its caches are as cold as those of a sender."""
    prepared = sizes.made(_MEMBERS)
    with (
        DatagramSender() as sender,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as ear,
    ):
        ear.bind(("127.0.0.1", 0))
        host, port = ear.getsockname()

        def send() -> None:
            sender.send(encode(prepared, key="k"), host, port, now_s=time.monotonic())

        rows = {
            "wake up": _cost_ms(lambda: None),
            f"wake up, encode {_MEMBERS} members": _cost_ms(lambda: encode(prepared, key="k")),
            f"wake up, encode {_MEMBERS} members, send": _cost_ms(send),
        }
    lines = ["| once a second | ms CPU |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {what} | {cost:.2f} |" for what, cost in rows.items())])


def _cost_ms(work: Callable[[], object]) -> float:
    for number in range(_PERIODS + _WARM_UP):
        # Asking for the time takes time itself, so that it is asked for all of them.
        if number == _WARM_UP:
            begin_ms = _cpu_ms()
        time.sleep(_INTERVAL_S)
        work()
    return (_cpu_ms() - begin_ms) / _PERIODS


def _cpu_ms() -> float:
    """Time of this thread on a processor, by the scheduler as in `senders`."""
    path = Path(f"/proc/self/task/{os.getpid()}/schedstat")
    return int(path.read_text().split()[0]) / 1e6
