# SPDX-License-Identifier: Apache-2.0
"""Random lives of an amphora's network: whatever happens in between, the end is what was asked."""

import contextlib
import json
import os
import random
import tempfile
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, cast

import pytest

from amphora_agent import validate
from amphora_agent.errors import Conflict, NotFound
from amphora_agent.models import IPAddress, IPInterface
from amphora_agent.operations import interfaces, plug
from amphora_agent.operations.context import Context
from amphora_agent.settings import Settings
from amphora_agent.system.settings_store import SettingsStore
from amphora_agent.topology import Topology
from tests.support.kernel_model import KernelModel, PowerFailure

SEQUENCES = 2000
EVENTS = 8
SEED = 20261124

VIP_MAC = "fa:16:3e:00:00:01"
MEMBER_MACS = ("fa:16:3e:00:00:02", "fa:16:3e:00:00:03", "fa:16:3e:00:00:04")
VIPS = ("203.0.113.9", "203.0.113.10", "2001:db8::9")
SUBNETS = {4: "203.0.113.0/24", 6: "2001:db8::/64"}
GATEWAYS = {4: "203.0.113.1", 6: "2001:db8::1"}
FIXED_IPS = (
    ("192.0.2.4", "192.0.2.0/24"),
    ("192.0.2.5", "192.0.2.0/24"),
    ("198.51.100.4", "198.51.100.0/25"),
    ("2001:db8:1::4", "2001:db8:1::/64"),
    ("203.0.113.44", "203.0.113.0/24"),
)


class NoServices:
    """Units that come up and do nothing: what they run is not what is tried here."""

    def start(self, unit: str) -> None:
        """See amphora_agent.system.services.Services."""

    request = stop = reload = restart = start

    def is_active(self, unit: str) -> bool:
        """See amphora_agent.system.services.Services."""
        return bool(unit)


class Silent:
    """Takes rule sets and announcements, which are tried elsewhere, and does nothing."""

    def load(self, rules: str) -> None:
        """See amphora_agent.system.nftables.Nftables."""

    check = load

    def announce(self, interface: str, addresses: Collection[IPAddress]) -> None:
        """See amphora_agent.system.announcer.Announcer."""


@dataclass
class Life:
    """An amphora, and what its controller has asked of it so far.

    Attributes:
        wanted: MAC address -> the addresses that its NIC is to have.
    """

    context: Context
    kernel: KernelModel
    dice: random.Random
    topology: Topology
    wanted: dict[str, set[IPInterface]] = field(default_factory=dict)
    vips: list[str] = field(default_factory=list)
    member_ips: list[tuple[str, str]] = field(default_factory=list)

    def event(self) -> str:
        """Something happens; what it was."""
        plugs = [self.plug_vip, self.plug_member, self.plug_member, self.member_on_vip]
        return self.dice.choice([*plugs, self.reboot, self.detach, self.keepalived])()

    def plug_vip(self) -> str:
        """POST plug/vip, perhaps with other additional VIPs than before."""
        self.kernel.attach(VIP_MAC)
        self.vips = self.dice.sample(VIPS, self.dice.randint(1, 3))
        request = validate.plug_vip(self.vips[0], json.dumps(self.vip_body()).encode())
        self.insist(lambda: plug.vip(self.context, request))
        self.want_vip()
        return f"plug/vip {self.vips}"

    def plug_member(self) -> str:
        """POST plug/network with a full list of addresses."""
        mac = self.dice.choice(MEMBER_MACS)
        self.kernel.attach(mac)
        fixed_ips = self.dice.sample(FIXED_IPS, self.dice.randint(0, 4))
        request = validate.plug_network(json.dumps(body(mac, fixed_ips)).encode())
        self.insist(lambda: plug.network(self.context, request))
        self.wanted[mac] = {interface(*entry) for entry in fixed_ips}
        return f"plug/network {mac[-1]} {fixed_ips}"

    def member_on_vip(self) -> str:
        """POST plug/network for the VIP's own port; controllers name no additional VIPs there."""
        if VIP_MAC not in self.wanted:
            return "nothing"
        self.kernel.attach(VIP_MAC)
        self.member_ips = self.dice.sample(FIXED_IPS, self.dice.randint(0, 3))
        info = {**self.vip_body(), "vip": self.vips[0], "additional_vips": []}
        document = {**body(VIP_MAC, self.member_ips), "vip_net_info": info}
        request = validate.plug_network(json.dumps(document).encode())
        self.insist(lambda: plug.network(self.context, request))
        self.want_vip()
        return f"member on the VIP's port {self.member_ips}"

    def reboot(self) -> str:
        """The machine starts anew; nobody tells it anything."""
        self.kernel.reboot()
        for name in interfaces.names(self.context.settings.layout):
            with contextlib.suppress(NotFound):
                interfaces.up(self.context, name)
        return "reboot"

    def detach(self) -> str:
        """A NIC goes away, of which the agent is never told."""
        mac = self.dice.choice(MEMBER_MACS)
        self.kernel.detach(mac)
        self.wanted.pop(mac, None)
        return f"detach {mac[-1]}"

    def keepalived(self) -> str:
        """The amphora of a pair becomes active or standby."""
        if self.topology is Topology.ACTIVE_STANDBY and self.vips:
            vip = ip_interface(self.vips[0])
            self.kernel.keepalived("eth1", vip, active=self.dice.random() < 0.5)
            return "keepalived"
        return "nothing"

    def insist(self, request: Any) -> None:
        """Ask as a controller does: again, when the amphora fell over in between."""
        if self.dice.random() < 0.3:
            with (
                contextlib.suppress(PowerFailure, Conflict),
                self.kernel.failing_after(self.dice.randint(0, 8)),
            ):
                request()
            if self.dice.random() < 0.5:
                self.reboot()
        with contextlib.suppress(Conflict):
            request()

    def vip_body(self) -> dict[str, Any]:
        """Body of POST plug/vip."""
        primary, *additional = (
            {"ip_address": vip, **subnet(ip_address(vip).version)} for vip in self.vips
        )
        version = ip_address(self.vips[0]).version
        return {
            **{key: primary[key] for key in ("subnet_cidr", "gateway", "host_routes")},
            "mac_address": VIP_MAC,
            "mtu": 1450,
            "vrrp_ip": {4: "203.0.113.4", 6: "2001:db8::4"}[version],
            "additional_vips": additional,
        }

    def want_vip(self) -> None:
        """Note what the VIP's NIC is to have."""
        version = ip_address(self.vips[0]).version
        own = interface({4: "203.0.113.4", 6: "2001:db8::4"}[version], SUBNETS[version])
        self.wanted[VIP_MAC] = {own, *(interface(*entry) for entry in self.member_ips)}
        if self.topology is Topology.SINGLE:
            self.wanted[VIP_MAC] |= {ip_interface(vip) for vip in self.vips}

    def judge(self) -> None:
        """Hold every NIC that is there against what was asked for last."""
        vips = {ip_interface(vip) for vip in self.vips}
        for mac, wanted in self.wanted.items():
            link = self.kernel.inside(mac)
            assert link is not None, f"{mac} is not in the namespace"
            found = set(self.kernel.addresses(link.name))
            if self.topology is Topology.ACTIVE_STANDBY and mac == VIP_MAC:
                found -= vips
            assert found == wanted, f"{link.name}: {found} instead of {wanted}"
            desired = interfaces.read(self.context.settings.layout, link.name)
            assert not interfaces.converge(self.context, desired)
            assert (link.name == "eth1") == (mac == VIP_MAC)
        rules = {rule.source for rule in self.kernel.live("eth1").rules} if self.has_vip() else None
        if rules is not None:
            single = self.topology is Topology.SINGLE
            assert rules == ({ip_network(vip) for vip in self.vips} if single else set())

    def has_vip(self) -> bool:
        """Whether a VIP was plugged."""
        return VIP_MAC in self.wanted


def subnet(version: int) -> dict[str, Any]:
    """The parts of a request that tell of a subnet."""
    routes = [{"destination": "10.0.0.0/8", "nexthop": "203.0.113.2"}] if version == 4 else []
    return {"subnet_cidr": SUBNETS[version], "gateway": GATEWAYS[version], "host_routes": routes}


def body(mac: str, fixed_ips: list[tuple[str, str]]) -> dict[str, Any]:
    """Body of POST plug/network."""
    return {
        "mac_address": mac,
        "mtu": 1450,
        "fixed_ips": [
            {"ip_address": address, "subnet_cidr": cidr, "host_routes": [], "gateway": None}
            for address, cidr in fixed_ips
        ],
    }


def interface(address: str, cidr: str) -> IPInterface:
    """An address with the prefix length of its subnet."""
    return ip_interface(f"{address}/{ip_network(cidr).prefixlen}")


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory, where it costs nothing to make every write durable."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as path:
        yield Path(path)


def live(directory: Path, dice: random.Random) -> Life:
    """A new amphora."""
    topology = dice.choice(list(Topology))
    settings = Settings(
        amphora_id=str(uuid.UUID(int=0)),
        base_path=directory,
        agent_server_network_dir=directory / "interfaces",
        topology=topology,
    )
    kernel = KernelModel()
    context = Context(
        store=SettingsStore(directory / "absent.conf", settings),
        services=cast(Any, NoServices()),
        haproxy=cast(Any, None),
        keepalived=cast(Any, None),
        network=kernel,
        host=cast(Any, None),
        nftables=Silent(),
        announcer=Silent(),
    )
    return Life(context=context, kernel=kernel, dice=dice, topology=topology)


def test_any_life_ends_in_the_desired_state(memory: Path) -> None:
    """After every plug, crash, unplug and reboot the NICs are as the last requests have it."""
    for number in range(SEQUENCES):
        directory = memory / str(number)
        directory.mkdir()
        one = live(directory, random.Random(SEED + number))
        story: list[str] = []
        try:
            for _ in range(EVENTS):
                story.append(one.event())
                one.judge()
        except BaseException as exc:
            exc.add_note(f"sequence {number}, {one.topology}: {story}")
            raise


def test_life_notices_what_is_wrong(memory: Path) -> None:
    """The judge of these tests sees an address that somebody took away, and one too many."""
    one = live(memory, random.Random(SEED))
    one.plug_vip()
    one.judge()
    one.wanted[VIP_MAC].pop()
    with pytest.raises(AssertionError):
        one.judge()
