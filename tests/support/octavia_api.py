# SPDX-License-Identifier: Apache-2.0
"""The test's side of Octavia's API: starts it in a namespace, fills its database."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import need
from tests.support.netns import Namespace
from tests.support.octavia_driver import PYTHON_VARIABLE

CLOUD = "octavia"
_REPOSITORY = Path(__file__).resolve().parents[2]
_STOP_DEADLINE_S = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Failover:
    """One that the stand-in for the worker has done; times in seconds of one clock."""

    amphora: str
    load_balancer: str
    begun: float
    ended: float


@dataclass(frozen=True, kw_only=True, slots=True)
class OctaviaApi:
    """An API that answers, see octavia_api_peer.

    Attributes:
        clouds_yaml: has it as the cloud `octavia`.
    """

    process: subprocess.Popen[str]
    clouds_yaml: Path

    def clear(self) -> None:
        """Take every load balancer and amphora out of the database."""
        self._order("clear")

    def add_load_balancer(self, lb_id: str, *, vip: str, status: str = "ACTIVE") -> None:
        """Add one without amphorae."""
        row = {"id": lb_id, "name": f"lb-{lb_id}", "provisioning_status": status, "vip": vip}
        self._order("add", load_balancers=[row], amphorae=[])

    def add_amphora(self, **columns: Any) -> None:
        """Add one, by the names of the database's columns."""
        self._order("add", load_balancers=[], amphorae=[columns])

    def set_status(self, lb_id: str, status: str) -> None:
        """Give a load balancer another provisioning status."""
        self._order("set_status", load_balancer_id=lb_id, status=status)

    def expect(self, amphora_id: str, **outcome: Any) -> None:
        """What a failover of an amphora will come to, see octavia_api_peer."""
        self._order("expect", amphora_id=amphora_id, outcome=outcome)

    def failovers(self) -> list[Failover]:
        """Those that have ended, since `clear`."""
        return [Failover(**row) for row in self._order("failovers")]

    def _order(self, order: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"order": order, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["result"]


@contextmanager
def octavia_api(inside: Namespace, directory: Path) -> Iterator[OctaviaApi]:
    """Octavia's API on loopback of a namespace."""
    python = os.environ.get(PYTHON_VARIABLE)
    if not python:
        need.missing(f"{PYTHON_VARIABLE} names no interpreter with Octavia; see ./test.sh")
    with (directory / "octavia-api.err").open("w") as errors:
        process = subprocess.Popen(
            inside.command(python, "-m", "tests.support.octavia_api_peer", str(directory)),
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said, (directory / "octavia-api.err").read_text()
            yield OctaviaApi(
                process=process, clouds_yaml=_clouds_yaml(directory, json.loads(said)["port"])
            )
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=_STOP_DEADLINE_S) == 0
        finally:
            process.kill()


def new_id() -> str:
    """An id that nothing has."""
    return str(uuid.uuid4())


def _clouds_yaml(directory: Path, port: int) -> Path:
    path = directory / "clouds.yaml"
    url = f"http://127.0.0.1:{port}"
    path.write_text(
        f"clouds:\n  {CLOUD}:\n    auth_type: none\n    auth: {{endpoint: '{url}'}}\n"
        f"    load_balancer_endpoint_override: '{url}'\n"
        # Nobody listens there.
        f"  {CLOUD}-down:\n    auth_type: none\n    auth: {{endpoint: 'http://127.0.0.1:9'}}\n"
        "    load_balancer_endpoint_override: 'http://127.0.0.1:9'\n"
    )
    return path
