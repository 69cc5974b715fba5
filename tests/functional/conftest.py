# SPDX-License-Identifier: Apache-2.0
"""The agent as a process in network namespaces of its own, with the real haproxy."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from tests.support import need, pki, waiting
from tests.support.mutual_tls import Client, RefusedError
from tests.support.netns import Namespace, namespace

REPOSITORY = Path(__file__).resolve().parents[2]
LOOPBACK = IPv4Address("127.0.0.1")
NIC_MAC = "02:00:00:00:00:01"
GATEWAY = IPv4Interface("198.51.100.1/24")
# Another one than the installed, for example that of the image.
HAPROXY = os.environ.get("AMPHORA_HAPROXY", "/usr/sbin/haproxy")
_DEADLINE_S = 30.0
_SCRATCH_BYTES = 2**30
# An amphora has 1 GB. Octavia's driver sizes haproxy's TLS session cache by what the agent tells:
# on a large host that would be gigabytes, for the old worker and the new one at once.
_MEMINFO = REPOSITORY / "tests/golden/meminfo-1GB"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where an agent runs and what it is given; nothing runs yet.

    Attributes:
        outer: the namespace that stands for the root namespace of an amphora.
        inner: the one that stands for amphora-haproxy.
        network: holds clients and members; a NIC in `outer` leads there.
        base: base_path of the agent.
    """

    outer: Namespace
    inner: Namespace
    network: Namespace
    directory: Path
    pki: pki.Pki
    amphora_id: uuid.UUID

    @property
    def base(self) -> Path:
        """[haproxy_amphora] base_path."""
        return self.directory / "base"

    @property
    def config_file(self) -> Path:
        """amphora-agent.conf."""
        return self.directory / "agent.conf"

    @property
    def server_pem(self) -> Path:
        """[amphora_agent] agent_server_cert."""
        return self.directory / "server.pem"

    @property
    def log(self) -> Path:
        """What the agent printed."""
        return self.directory / "agent.log"

    def client(self, identity: Path | None) -> Client:
        """Someone on the agent's loopback who presents the certificate in `identity`."""
        return Client(
            inside=self.outer,
            address=LOOPBACK,
            amphora_id=self.amphora_id,
            trust=self.pki.server_chain,
            identity=identity,
        )

    def write_config(self) -> None:
        """Write the configuration of the agent."""
        self.config_file.write_text(
            f"""
[haproxy_amphora]
base_path = {self.base}
base_cert_dir = {self.base}/certs
haproxy_cmd = {HAPROXY}
[amphora_agent]
amphora_id = {self.amphora_id}
agent_server_cert = {self.server_pem}
agent_server_ca = {self.pki.client_chain}
agent_server_network_dir = {self.directory}/interfaces
"""
        )

    def start(
        self, environment: Mapping[str, str] | None = None, *, bare: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start an agent; it is not awaited.

        Args:
            environment: more variables for it.
            bare: it finds neither a program of /usr/sbin nor the amphora's namespace.
        """
        # `ip netns exec` has made a mount namespace, so only the agent sees this.
        mounts = 'mount --bind "$0" /proc/meminfo'
        if bare:
            mounts += " && mount -t tmpfs tmpfs /usr/sbin"
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self.outer.command(
                    *("sh", "-c", f'{mounts} && exec "$@"', str(_MEMINFO)),
                    *(sys.executable, "-W", "error", "-m", "tests.support.run_agent"),
                    *("--config-file", str(self.config_file)),
                    *("--netns", "no-such-namespace" if bare else self.inner.name),
                ),
                cwd=REPOSITORY,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def await_answer(self) -> None:
        """Wait until the agent answers over mutual TLS."""
        client = self.client(self.pki.controller)

        def probe() -> bool | None:
            try:
                return client.request("GET", "/").status == 200 or None
            except (OSError, RefusedError):
                return None

        try:
            waiting.until("the agent to answer", probe, deadline_s=_DEADLINE_S, every_s=0.05)
        except waiting.DeadlinePassedError as exc:
            exc.add_note(self.log.read_text(errors="replace"))
            raise


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    """Certificates of one deployment, made once."""
    return pki.create(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def place(authorities: pki.Pki) -> Iterator[Place]:
    """A place that the tests of a module share."""
    with make_place(authorities) as made:
        yield made


@pytest.fixture
def fresh_place(authorities: pki.Pki) -> Iterator[Place]:
    """A place of one test's own."""
    with make_place(authorities) as made:
        yield made


@contextmanager
def make_place(authorities: pki.Pki) -> Iterator[Place]:
    """Namespaces, directories and certificates for one agent; all is removed afterwards."""
    need.root()
    need.programs("ip", "haproxy")
    amphora_id = uuid.uuid4()
    with (
        # haproxy's socket paths are limited to 97 bytes, and pytest's own directories are long.
        tempfile.TemporaryDirectory(prefix="amp-", dir=_scratch()) as directory,
        namespace("outer") as outer,
        namespace("inner") as inner,
        namespace("network") as network,
    ):
        place = Place(
            outer=outer,
            inner=inner,
            network=network,
            directory=Path(directory),
            pki=authorities,
            amphora_id=amphora_id,
        )
        # haproxy's workers run as nobody and remove their sockets themselves.
        place.directory.chmod(0o755)
        place.base.mkdir()
        (place.base / "haproxy-default-user-group.conf").write_text("global\n    group nogroup\n")
        place.server_pem.write_bytes(authorities.amphora_pem(amphora_id))
        place.write_config()
        outer.ip(
            *("link", "add", "nic0", "address", NIC_MAC, "type", "veth"),
            *("peer", "name", "net0", "netns", network.name),
        )
        network.add_address("net0", GATEWAY)
        network.ip("link", "set", "net0", "up")
        yield place
        # What the agent started in the amphora's namespace is ours to end.
        for pid in inner.pids():
            os.kill(pid, signal.SIGKILL)
        waiting.until(
            "haproxy to end", lambda: None if inner.pids() else True, deadline_s=10, every_s=0.05
        )


def _scratch() -> Path | None:
    """Where a synchronised write costs nothing; None is the usual place.

    The agent synchronises every file several times. That its calls are the right ones in the right
    order is a unit test's business; here no power fails.
    """
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < _SCRATCH_BYTES:
        return None
    return memory


@pytest.fixture(scope="module")
def agent(place: Place) -> Iterator[Place]:
    """An agent that answers."""
    process = place.start()
    try:
        place.await_answer()
        yield place
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)
    assert "Traceback" not in place.log.read_text()


@pytest.fixture(scope="module")
def controller(agent: Place) -> Client:
    """A controller with the right certificate."""
    return agent.client(agent.pki.controller)
