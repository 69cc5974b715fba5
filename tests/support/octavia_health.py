# SPDX-License-Identifier: Apache-2.0
"""The test's side of Octavia's health manager (octavia_health_peer)."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.heartbeats import Listener
from tests.support.octavia_driver import interpreter

_REPOSITORY = Path(__file__).resolve().parents[2]
_STOP_DEADLINE_S = 30


class HealthManager:
    """A health manager that is fed by hand, with the database of its controller."""

    def __init__(self, process: subprocess.Popen[str], heard: Listener) -> None:
        self._process = process
        self._heard = heard
        self._fed = 0
        self._last_port = 0

    def feed(self) -> int:
        """Take in every datagram that has come since the last time; how many there were."""
        fresh = self._heard.received()[self._fed :]
        for item in fresh:
            self.call("heartbeat", datagram=base64.b64encode(item.payload).decode())
        self._fed += len(fresh)
        return len(fresh)

    def call(self, operation: str, **arguments: object) -> Any:
        """One operation of the peer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"operation": operation, "arguments": arguments}
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def add_load_balancer(self, lb_id: str, amphora_id: str) -> None:
        """An active load balancer and its amphora."""
        self.call(
            "add",
            table="load_balancer",
            row={
                "id": lb_id,
                "provisioning_status": "ACTIVE",
                "operating_status": "OFFLINE",
                "enabled": True,
            },
        )
        self.call(
            "add",
            table="amphora",
            row={"id": amphora_id, "load_balancer_id": lb_id, "status": "ALLOCATED"},
        )

    def add_listener(self, listener_id: str, lb_id: str, *, protocol: str = "HTTP") -> None:
        """An enabled listener, on a port of its own."""
        self._last_port += 1
        self.call(
            "add",
            table="listener",
            row={
                "id": listener_id,
                "load_balancer_id": lb_id,
                "protocol": protocol,
                "protocol_port": self._last_port,
                "provisioning_status": "ACTIVE",
                "operating_status": "OFFLINE",
                "enabled": True,
            },
        )

    def set_provisioning(self, lb_id: str, status: str) -> None:
        """What the controller says while it changes a load balancer, and afterwards."""
        self.call(
            "change", table="load_balancer", row_id=lb_id, values={"provisioning_status": status}
        )

    def statuses(self) -> set[str]:
        """Operating statuses of the load balancer and its listeners together."""
        return {
            status
            for table in ("load_balancer", "listener")
            for status in self.call("statuses", table=table).values()
        }


@contextmanager
def health_manager(
    heard: Listener, directory: Path, *, key: str, timeout_s: int
) -> Iterator[HealthManager]:
    """Octavia's health manager with an empty database.

    Args:
        timeout_s: how old the last sign of life of an amphora may be before it is replaced.
    """
    log = directory / "health-manager.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [
                *(interpreter(), "-m", "tests.support.octavia_health_peer"),
                *(str(directory / "octavia.db"), key, str(timeout_s)),
            ],
            cwd=_REPOSITORY,
            env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield HealthManager(process, heard)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=_STOP_DEADLINE_S)
