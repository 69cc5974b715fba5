# SPDX-License-Identifier: Apache-2.0
"""Two amphorae of one load balancer (ACTIVE_STANDBY) in containers, set up by Octavia's driver."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support import lab, waiting
from tests.support.balancer import Amphora, LoadBalancer, Role, VipPort
from tests.support.container import Container
from tests.support.guest import Plan
from tests.support.yard import Yard, nic_name

# Of a keepalived that starts on a busy machine, with checks every five seconds.
DEADLINE_S = 60.0


@dataclass(kw_only=True)
class Half:
    """One of the two, and its disk, which outlives a power cut.

    Attributes:
        balancer: with this one as the amphora that operations act on.
    """

    plan: Plan
    balancer: LoadBalancer
    port: VipPort
    directory: Path
    running: ExitStack = field(default_factory=ExitStack)
    container: Container | None = None

    def status(self) -> int:
        """What GET interface/{VIP} is answered with: 200 on the active amphora, else 404."""
        client = self.plan.client(self.plan.pki.controller)
        return client.get(f"/1.0/interface/{self.balancer.vip}")[0]

    def run(self, command: str) -> str:
        """Run a command inside."""
        assert self.container is not None
        return self.container.run(command)

    def keepalived_says(self, text: str) -> bool:
        """Whether its VRRP has said something since the boot."""
        return text in self.run("journalctl --boot --unit octavia-keepalived --output cat")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both, the one of role MASTER first."""

    yard: Yard
    halves: tuple[Half, Half]

    def boot(self, half: Half) -> None:
        """Power one on, with a NIC on the VIP's network."""
        inside = half.plan.networks.namespace
        nic = nic_name("vip", half.plan.amphora.vrrp_address)
        inside.add_nic(nic, mac=half.port.mac, mtu=half.port.mtu, bridge=lab.VIP_BRIDGE)
        booted = self.yard.boot(half.plan, half.directory, nics=[nic])
        half.container = half.running.enter_context(booted)

    def kill(self, half: Half) -> None:
        """Cut the power of one."""
        assert half.container is not None
        half.container.kill()
        half.running.close()
        half.container = None

    def configure(self) -> None:
        """What a controller does for a new load balancer with listeners."""
        controller = self.yard.controller
        for half in self.halves:
            controller.post_vip_plug(half.balancer, half.port).result(timeout=DEADLINE_S)
        for half in self.halves:
            amphora = half.plan.amphora
            assert controller.interface(amphora, amphora.vrrp_address) == "eth1"
            controller.upload_vrrp(half.balancer, half.port)
            controller.start_vrrp(amphora)
        for half in self.halves:
            controller.update(half.balancer)

    def other(self, half: Half) -> Half:
        """The other one of the two."""
        one, two = self.halves
        return two if half is one else one

    def await_roles(self) -> tuple[Half, Half]:
        """Wait until one holds the VIP and the other waits to take it over: (active, standby)."""

        def probe() -> tuple[Half, Half] | None:
            one, two = self.halves
            found = {one.status(): one, two.status(): two}
            if found.keys() != {200, 404}:
                return None
            standby = found[404]
            return (found[200], standby) if standby.keepalived_says("BACKUP STATE") else None

        return waiting.until("active and standby", probe, deadline_s=DEADLINE_S, every_s=0.2)


@contextmanager
def pair(yard: Yard, plan: Plan, balancer: LoadBalancer, directory: Path) -> Iterator[Pair]:
    """Boot and configure a pair; it is gone afterwards.

    Args:
        plan: whose lab, authorities and keys both have.
        balancer: its listeners and its VIP; the amphorae are made here.
    """
    amphorae = [
        Amphora(management_address=lab.MGMT[host], vrrp_address=lab.VIP[host], role=role)
        for host, role in ((11, Role.MASTER), (12, Role.BACKUP))
    ]
    one, two = (
        _half(plan, replace(balancer, amphora=amphora, peer=peer), number, directory)
        for number, (amphora, peer) in enumerate(_each_with_other(amphorae))
    )
    both = Pair(yard=yard, halves=(one, two))
    with one.running, two.running:
        for half in both.halves:
            both.boot(half)
        both.configure()
        yield both


def _each_with_other(amphorae: Sequence[Amphora]) -> list[tuple[Amphora, Amphora]]:
    one, two = amphorae
    return [(one, two), (two, one)]


def _half(plan: Plan, balancer: LoadBalancer, number: int, directory: Path) -> Half:
    own = directory / f"amphora-{number}"
    own.mkdir()
    return Half(
        plan=replace(plan, amphora=balancer.amphora, mgmt_mac=f"fa:16:3e:00:01:{number:02x}"),
        balancer=balancer,
        port=VipPort(
            mac=f"fa:16:3e:00:02:{number:02x}",
            subnet=lab.VIP,
            gateway=plan.networks.gateway,
            mtu=lab.MTU,
        ),
        directory=own,
    )
