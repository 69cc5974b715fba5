# SPDX-License-Identifier: Apache-2.0
"""A pair of real keepalived in namespaces, on one bridge, without agents.

Process ids of keepalived are the machine's, so that every file is named; and each is started from
outside its namespace, as tracking of processes needs it (see docs/rendering.md).
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from tests.support import waiting
from tests.support.keepalived_documents import Part
from tests.support.netns import Namespace, namespace

VIP = IPv4Address("198.51.100.9")
ADDRESSES = (IPv4Interface("198.51.100.4/24"), IPv4Interface("198.51.100.5/24"))
IDS = ("0b0c0d0e-0000-4000-8000-000000000002", "0b0c0d0e-0000-4000-8000-000000000003")
_WIRE = IPv4Interface("198.51.100.1/24")
_DEADLINE_S = 30.0
POLL_S = 0.02
_PID_FILES = ("pid", "vrrp_pid", "checkers_pid", "bfd_pid")


def document(**vrrp: object) -> Part:
    """A pair that serves one HTTP listener."""
    return {
        "id": "0b0c0d0e-0000-4000-8000-000000000001",
        "vip": {"address": str(VIP), "subnet": str(_WIRE.network), "gateway": str(_WIRE.ip)},
        "topology": "ACTIVE_STANDBY",
        "amphorae": [
            {"id": name, "vrrp_ip": str(address.ip), "role": role}
            for name, address, role in zip(IDS, ADDRESSES, ("MASTER", "BACKUP"), strict=True)
        ],
        "vrrp": {"authentication": "1a2b3c4"} | vrrp,
        "listeners": [
            {"id": "0b0c0d0e-0000-4000-8000-000000000004", "protocol": "HTTP", "port": 80}
        ],
    }


@dataclass(kw_only=True, slots=True)
class Side:
    """One of the pair.

    Attributes:
        inside: its namespace, which has the VIP's NIC, eth1.
        port: the other end of eth1, at the bridge.
        directory: for its files.
    """

    inside: Namespace
    wire: Namespace
    port: str
    directory: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> str:
        """What keepalived has said since it was started last."""
        return (self.directory / "log").read_text(errors="replace")

    def start(self, config: str) -> None:
        """Plug in the NIC and start keepalived."""
        file = self.directory / "keepalived.conf"
        file.write_text(config)
        self.wire.ip("link", "set", self.port, "up")
        # What a killed one left would stop the next.
        for name in _PID_FILES:
            (self.directory / name).unlink(missing_ok=True)
        pids = [f"--{name}={self.directory / name}" for name in _PID_FILES]
        with (self.directory / "log").open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *("keepalived", "--dont-fork", "--log-console", "--log-detail"),
                    *(f"--namespace={self.inside.name}", f"--use-file={file}", *pids),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def cut(self) -> None:
        """Take its power: nothing of it can say a last word."""
        assert self._process is not None
        self.wire.ip("link", "set", self.port, "down")
        # A parent that lives would start children again; one that dies has them say goodbye.
        self._process.send_signal(signal.SIGSTOP)
        for pid in self.inside.pids():
            if pid != self._process.pid:
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait(timeout=_DEADLINE_S)
        self._process = None

    def stop(self) -> None:
        """Stop keepalived if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=_DEADLINE_S)
            self._process = None

    def has_vip(self) -> bool:
        """Whether the VIP is an address of this side."""
        with self.inside.entered(), socket.socket(type=socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((str(VIP), 0))
            except OSError:
                return False
            return True

    def await_vip(self, what: str = "the VIP") -> None:
        """Wait for the VIP to come."""
        try:
            waiting.until(
                what, lambda: self.has_vip() or None, deadline_s=_DEADLINE_S, every_s=POLL_S
            )
        except waiting.DeadlinePassedError as exc:
            exc.add_note(self.log)
            raise

    def await_log(self, text: str) -> None:
        """Wait for a word of keepalived."""
        try:
            waiting.until(
                f"keepalived to say {text!r}",
                lambda: text in self.log or None,
                deadline_s=_DEADLINE_S,
                every_s=POLL_S,
            )
        except waiting.DeadlinePassedError as exc:
            exc.add_note(self.log)
            raise


def seconds_until_vip(side: Side, since_s: float) -> float:
    """Seconds from a moment of the monotonic clock until a side has the VIP."""
    side.await_vip()
    return time.monotonic() - since_s


@contextmanager
def sides(directory: Path) -> Iterator[tuple[Side, Side]]:
    """Both, with no keepalived yet; whatever runs is stopped in the end."""
    with namespace("wire") as wire, namespace("one") as one, namespace("two") as two:
        wire.add_bridge("wire", _WIRE)
        made = []
        for inside, address, port in zip((one, two), ADDRESSES, ("one", "two"), strict=True):
            wire.ip(
                *("link", "add", port, "type", "veth"),
                *("peer", "name", "eth1", "netns", inside.name),
            )
            wire.ip("link", "set", port, "master", "wire", "up")
            inside.add_address("eth1", address)
            inside.ip("link", "set", "eth1", "up")
            place = directory / port
            place.mkdir()
            made.append(Side(inside=inside, wire=wire, port=port, directory=place))
        first, second = made
        try:
            yield first, second
        finally:
            first.stop()
            second.stop()
