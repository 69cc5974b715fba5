# SPDX-License-Identifier: Apache-2.0
"""An amphora in the lab, booted from the image with what Nova and Octavia would give it."""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from pathlib import Path, PurePosixPath

from tests.support import lab, waiting
from tests.support.accelerator import Accelerator
from tests.support.balancer import Amphora
from tests.support.configdrive import ConfigDrive, Port, StaticPort
from tests.support.lab import Lab
from tests.support.mutual_tls import Client, RefusedError
from tests.support.octavia_driver import Octavia
from tests.support.pki import Pki
from tests.support.qemu import Machine, MachineSpec, Nic, machine
from tests.support.ssh import KeyPair, RemoteError, Shell

AGENT_CONFIG = PurePosixPath("/etc/octavia/amphora-agent.conf")
SERVER_PEM = PurePosixPath("/etc/octavia/certs/server.pem")
CLIENT_CA = PurePosixPath("/etc/octavia/certs/client_ca.pem")
RSYSLOG = PurePosixPath("/etc/rsyslog.d/10-rsyslog.conf")

MGMT_NIC = Nic(tap=lab.MGMT_TAP, mac="fa:16:3e:00:00:01", mtu=lab.MTU)
VIP_NIC = Nic(tap=lab.VIP_TAP, mac="fa:16:3e:00:00:02", mtu=lab.MTU)
MEMBER_NIC = Nic(tap=lab.MEMBER_TAP, mac="fa:16:3e:00:00:03", mtu=lab.MTU)

# An early attempt must not hang on a machine that is only half up.
_EARLY_TIMEOUT_S = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """What is common to all machines of a run: the image on their disks, and who executes them."""

    image: Path
    accelerator: Accelerator


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Who an amphora is, and who may reach it how.

    Attributes:
        mgmt_mac: of its NIC on the management network.
    """

    networks: Lab
    pki: Pki
    keys: KeyPair
    amphora: Amphora = field(
        default_factory=lambda: Amphora(management_address=lab.MGMT[10], vrrp_address=lab.VIP[10])
    )
    mgmt_mac: str = MGMT_NIC.mac

    @property
    def name(self) -> str:
        """The server's name in Nova."""
        return f"amphora-{self.amphora.id}"

    def client(self, identity: Path | None, *, timeout_s: float = 30) -> Client:
        """Someone who calls the amphora with this certificate."""
        return Client(
            inside=self.networks.namespace,
            address=self.amphora.management_address,
            amphora_id=self.amphora.id,
            trust=self.pki.server_chain,
            identity=identity,
            timeout_s=timeout_s,
        )

    def drive(
        self, octavia: Octavia, *, server_pem: bytes, port: Port | None = None
    ) -> ConfigDrive:
        """The config drive for this amphora, with the files that Octavia renders.

        Args:
            port: on the management network; by default with its static address.
        """
        rendered = octavia.boot_files(self.amphora.id, self.amphora.role.topology)
        return ConfigDrive(
            instance_id=uuid.uuid4(),
            name=self.name,
            ports=(port or self._static_port(),),
            files={
                SERVER_PEM: server_pem,
                CLIENT_CA: self.pki.client_chain.read_bytes(),
                AGENT_CONFIG: rendered.agent.encode(),
                RSYSLOG: rendered.rsyslog.encode(),
            },
            public_keys={"octavia_ssh_key": self.keys.public},
            user_data=rendered.user_data,
        )

    def _static_port(self) -> StaticPort:
        return StaticPort(
            port_id=uuid.uuid4(),
            network_id=uuid.uuid4(),
            mac=self.mgmt_mac,
            address=IPv4Interface(f"{self.amphora.management_address}/{lab.MGMT.prefixlen}"),
            mtu=MGMT_NIC.mtu,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Guest:
    """A booted amphora."""

    plan: Plan
    machine: Machine
    shell: Shell

    def wait_for_answer(self, *, deadline_s: float) -> float:
        """Wait until GET // is answered with 200; seconds since power-on."""
        client = self.plan.client(self.plan.pki.controller, timeout_s=_EARLY_TIMEOUT_S)

        def probe() -> float | None:
            try:
                status, _body = client.get("//")
            except (OSError, RefusedError):
                return None
            return self.machine.age_s if status == 200 else None

        return waiting.until(
            "the first answer over mutual TLS", probe, deadline_s=deadline_s, every_s=0.2
        )

    def wait_for_shell(self, *, deadline_s: float) -> None:
        """Wait until ssh lets the key in."""

        def probe() -> bool | None:
            try:
                self.shell.run("true")
            except RemoteError:
                return None
            return True

        waiting.until("a shell", probe, deadline_s=deadline_s, every_s=1)

    def journal(self, lines: int) -> str:
        """The end of the journal, or why it cannot be had."""
        try:
            return self.shell.run(f"journalctl --no-pager -n {lines}")
        except RemoteError as exc:
            return f"not reachable: {exc}"


@contextmanager
def boot(plan: Plan, hardware: Hardware, *, config_drive: Path | None) -> Iterator[Guest]:
    """Power an amphora on; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="amphora-") as directory:
        spec = MachineSpec(
            image=hardware.image,
            directory=Path(directory),
            accelerator=hardware.accelerator,
            nics=(MGMT_NIC,),
            config_drive=config_drive,
        )
        inside = plan.networks.namespace
        with machine(spec, inside) as started:
            shell = Shell(
                inside=inside, address=plan.amphora.management_address, key=plan.keys.private
            )
            yield Guest(plan=plan, machine=started, shell=shell)
