# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch with its userspace datapath: no kernel module, nothing of the host's own."""

import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import need, waiting
from tests.support.netns import Namespace

BRIDGE = "br-int"
_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_DEADLINE_S = 20.0


@dataclass(frozen=True, kw_only=True)
class OpenVSwitch:
    """Its two daemons in a namespace.

    Attributes:
        directory: for sockets, database and logs; its path is short.
    """

    namespace: Namespace
    directory: Path
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def database(self) -> str:
        """As `ovs-vsctl --db` takes it."""
        return f"unix:{self.directory}/db.sock"

    def start(self) -> None:
        """Start both; what the database has is there when this returns."""
        stored = self.directory / "conf.db"
        if not stored.exists():
            subprocess.run(["ovsdb-tool", "create", stored, _SCHEMA], check=True, timeout=30)
        remote = f"--remote=p{self.database}"
        self._start("ovsdb-server", str(stored), remote)
        self._await(self.directory / "db.sock")
        self.vsctl("--no-wait", "init")
        self._start("ovs-vswitchd", self.database, "--disable-system")
        # Returns when all interfaces of the database are there.
        self.vsctl("set", "Open_vSwitch", ".", f"external_ids:start={secrets.token_hex(4)}")

    def stop(self) -> None:
        """End both; their interfaces go, the database stays."""
        while self._running:
            _, process = self._running.popitem()
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=_DEADLINE_S)
        (self.directory / "db.sock").unlink(missing_ok=True)

    def vsctl(self, *argv: str) -> str:
        """Run ovs-vsctl; what it prints."""
        done = subprocess.run(
            ["ovs-vsctl", f"--db={self.database}", "--retry", "--timeout=20", *argv],
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S + 10,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def add_bridge(self, name: str = BRIDGE) -> None:
        """Add a bridge of the userspace datapath."""
        self.vsctl("add-br", name, "--", "set", "Bridge", name, "datapath_type=netdev")

    def add_internal_port(self, name: str, owner: Namespace, bridge: str = BRIDGE) -> None:
        """Add an interface of Open vSwitch's own, and give it to another namespace.

        What a veth brings has no checksums yet, and the userspace datapath makes none.
        """
        self.vsctl("add-port", bridge, name, "--", "set", "Interface", name, "type=internal")
        self.namespace.ip("link", "set", name, "netns", owner.name)

    def _start(self, program: str, *argv: str) -> None:
        with (self.directory / f"{program}.log").open("ab") as log:
            self._running[program] = subprocess.Popen(
                self.namespace.command(
                    *("env", f"OVS_RUNDIR={self.directory}", program, *argv),
                    f"--unixctl={self.directory}/{program}.ctl",
                    f"--pidfile={self.directory}/{program}.pid",
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _await(self, socket: Path) -> None:
        waiting.until(
            str(socket), lambda: socket.exists() or None, deadline_s=_DEADLINE_S, every_s=0.02
        )


@contextmanager
def open_vswitch(inside: Namespace, directory: Path) -> Iterator[OpenVSwitch]:
    """Start Open vSwitch without a bridge; it has ended afterwards."""
    need.root()
    need.programs("ovs-vsctl", "ovs-vswitchd", "ovsdb-server", "ovsdb-tool")
    made = OpenVSwitch(namespace=inside, directory=directory)
    try:
        made.start()
        yield made
    finally:
        made.stop()
