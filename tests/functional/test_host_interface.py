# SPDX-License-Identifier: Apache-2.0
"""The health manager's interface, with real Open vSwitch, a real Linux bridge and real rules.

The controller is a namespace; an amphora is another one, plugged into the same bridge. What
systemd does on a host, tests.support.units does here: it runs the commands of the unit.
"""

import contextlib
import dataclasses
import json
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.hostnet import files
from amphora_controller.hostnet.interface import (
    Address,
    HostInterface,
    bridge_name,
    external_ids,
    tap_name,
)
from amphora_controller.setup.hm_port_host import HostHalf, Place
from amphora_controller.site_host import Plug
from tests.support import need, waiting
from tests.support.netns import Namespace, namespace, run
from tests.support.openvswitch import BRIDGE, OpenVSwitch, open_vswitch
from tests.support.units import FileUnits

pytestmark = pytest.mark.netns

NETWORK_ID = "6e2c1b64-5f8e-4ad0-8d2b-0a4f3e0c7b11"
PORT_ID = "3b5b0f5e-8a1c-4b8a-9c1a-2f1d0c5c4e11"
MAC = "fa:16:3e:5a:00:11"
MTU = 1442
CONTROLLER = {4: ip_interface("192.0.2.11/24"), 6: ip_interface("2001:db8::11/64")}
AMPHORA = {4: ip_interface("192.0.2.77/24"), 6: ip_interface("2001:db8::77/64")}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
HEARTBEAT_PORT = 5555
LOG_PORT = 10514
API_PORT = 9443
_RESOLV_CONF = Path("/etc/resolv.conf")
_DEADLINE_S = 10.0
# For what must not come.
_SILENCE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Host:
    """A controller with a bridge of Neutron's, and an amphora on it."""

    namespace: Namespace
    amphora: Namespace
    place: Place
    units: FileUnits
    plug: Plug
    vswitch: OpenVSwitch | None

    def half(self, address: Address = CONTROLLER[4], **other: str) -> HostHalf:
        """What is to be tested."""
        port_id = other.pop("port_id", PORT_ID)
        wanted = HostInterface(
            name="o-hm0",
            plug=self.plug,
            bridge=other.pop("bridge", bridge_name(self.plug, NETWORK_ID)),
            port_id=port_id,
            mac=MAC,
            tap=tap_name(port_id),
            address=address,
            mtu=MTU,
            ovs_database=self.vswitch.database if self.vswitch else None,
        )
        rules = files.rules("o-hm0", heartbeat_port=HEARTBEAT_PORT, log_ports=[LOG_PORT])
        return HostHalf(wanted=wanted, rules=rules, place=self.place, units=self.units)

    def apply(self, half: HostHalf) -> list[str]:
        """Do all changes; what was done."""
        return self._done(half, removals=False)

    def remove(self, half: HostHalf) -> list[str]:
        """Do all removals; what was done."""
        return self._done(half, removals=True)

    def look(self, half: HostHalf) -> list[str]:
        """What a dry run tells."""
        with self.namespace.entered():
            return [f"{change.what}\n{change.detail}" for change in half.changes()]

    def snapshot(self) -> dict[str, object]:
        """Everything that the step may change, and what it must not."""
        name = self.namespace.name
        ports = self.vswitch.vsctl("list-ports", BRIDGE) if self.vswitch else ""
        routes = [
            run("ip", "-netns", name, family, "route", "show", "table", "all")
            for family in ("-4", "-6")
        ]
        return {
            "links": sorted(str(row["ifname"]) for row in self.addresses()),
            "ports": ports,
            "rules": run(*self.namespace.command("nft", "list", "ruleset")),
            "files": sorted(self.place.units.parent.rglob("*.*")),
            "routes": routes,
            "resolv.conf": (_RESOLV_CONF.read_bytes(), _RESOLV_CONF.stat().st_mtime_ns),
        }

    def addresses(self) -> list[dict[str, object]]:
        """What `ip` knows of all interfaces."""
        text = run("ip", "-netns", self.namespace.name, "-json", "address", "show")
        rows: list[dict[str, object]] = json.loads(text)
        return rows

    def interface(self) -> dict[str, object]:
        """What `ip` knows of o-hm0."""
        (row,) = (row for row in self.addresses() if row["ifname"] == "o-hm0")
        return row

    def is_reached(self, kind: socket.SocketKind, version: int, port: int, data: bytes) -> bool:
        """Whether what the amphora sends to a port of the controller comes to a server there."""
        target = (str(CONTROLLER[version].ip), port)
        with self.namespace.entered():
            server = socket.socket(FAMILY[version], kind)
        with self.amphora.entered():
            client = socket.socket(FAMILY[version], kind)
        with server, client:
            server.bind(target)
            # Until a server has it, what is dropped and what is late look alike: ping went first.
            client.settimeout(_SILENCE_S)
            server.settimeout(_SILENCE_S)
            if kind == socket.SOCK_STREAM:
                server.listen()
            with contextlib.suppress(TimeoutError):
                client.connect(target)
                client.sendall(data)
                if kind == socket.SOCK_DGRAM:
                    return server.recv(len(data)) == data
                server.accept()[0].close()
                return True
        return False

    def ping(self, version: int) -> None:
        """See that the amphora reaches the controller at all."""
        argv = ("ping", "-c1", "-W5", str(CONTROLLER[version].ip))
        run(*self.amphora.command(*argv))

    def default_routes(self) -> str:
        """Those of IPv6."""
        return run("ip", "-netns", self.namespace.name, "-6", "route", "show", "default")

    def advertise_router(self) -> None:
        """Have the amphora say that it is a router for half an hour (RFC 4861, 4.2)."""
        advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
        with (
            self.amphora.entered(),
            socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw,
        ):
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            raw.sendto(advertisement, ("ff02::1", 0, 0, socket.if_nametoindex("nic")))

    def _done(self, half: HostHalf, *, removals: bool) -> list[str]:
        done = []
        with self.namespace.entered():
            for change in half.removals() if removals else half.changes():
                change.do()
                done.append(change.what)
        return done


@contextlib.contextmanager
def controller(plug: Plug) -> Iterator[Host]:
    """A controller whose default route leads elsewhere, and an amphora."""
    need.root()
    need.programs("ip", "nft", "ping")
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hm-")))
        inside = stack.enter_context(namespace("controller"))
        amphora = stack.enter_context(namespace("amphora"))
        inside.ip("link", "add", "eth0", "type", "veth", "peer", "name", "gateway")
        inside.ip("address", "add", "203.0.113.2/24", "dev", "eth0")
        inside.ip("address", "add", "2001:db8:1::2/64", "dev", "eth0", "nodad")
        for link in ("eth0", "gateway"):
            inside.ip("link", "set", link, "up")
        inside.ip("route", "add", "default", "via", "203.0.113.1")
        inside.ip("-6", "route", "add", "default", "via", "2001:db8:1::1")
        vswitch = None
        if plug is Plug.LINUXBRIDGE:
            _plug_into_bridge(inside, amphora)
        else:
            run_directory = base / "ovs"
            run_directory.mkdir()
            vswitch = stack.enter_context(open_vswitch(inside, run_directory))
            vswitch.add_bridge()
            vswitch.add_internal_port("nic", amphora)
        # So that its link-local address, which routers advertise from, is usable at once.
        run(*amphora.command("sysctl", "-w", "net.ipv6.conf.nic.accept_dad=0"))
        amphora.ip("link", "set", "nic", "up", "mtu", str(MTU))
        for address in AMPHORA.values():
            amphora.add_address("nic", address)
        units = base / "units"
        units.mkdir()
        yield Host(
            namespace=inside,
            amphora=amphora,
            place=Place(units=units, rules=base / "octavia/rules.nft"),
            units=FileUnits(units),
            plug=plug,
            vswitch=vswitch,
        )


def _plug_into_bridge(inside: Namespace, amphora: Namespace) -> None:
    bridge = bridge_name(Plug.LINUXBRIDGE, NETWORK_ID)
    inside.ip("link", "add", bridge, "type", "bridge")
    # As Neutron's agent does.
    run(*inside.command("sysctl", "-w", f"net.ipv6.conf.{bridge}.disable_ipv6=1"))
    inside.ip("link", "set", bridge, "up")
    inside.ip("link", "add", "port", "type", "veth", "peer", "name", "nic", "netns", amphora.name)
    inside.ip("link", "set", "port", "up", "master", bridge)


@pytest.fixture(params=[Plug.OVS, Plug.LINUXBRIDGE])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A controller of each kind."""
    with controller(request.param) as made:
        yield made


@pytest.fixture
def ovs_host() -> Iterator[Host]:
    """A controller with Open vSwitch."""
    with controller(Plug.OVS) as made:
        yield made


@pytest.fixture
def bridge_host() -> Iterator[Host]:
    """A controller with a Linux bridge."""
    with controller(Plug.LINUXBRIDGE) as made:
        yield made


@pytest.mark.parametrize("version", [4, 6])
def test_interface_is_the_port(host: Host, version: int) -> None:
    """o-hm0 has the port's MAC, the management address alone, and the network's MTU."""
    host.apply(host.half(CONTROLLER[version]))
    row = host.interface()
    assert (row["address"], row["mtu"]) == (MAC, MTU)
    flags = row["flags"]
    assert isinstance(flags, list)
    assert "UP" in flags
    infos = row["addr_info"]
    assert isinstance(infos, list)
    found = [f"{info['local']}/{info['prefixlen']}" for info in infos if info["scope"] == "global"]
    assert found == [str(CONTROLLER[version])]
    assert not any(info.get("tentative") for info in infos if info["scope"] == "global")


def test_neutron_knows_the_port_of_open_vswitch(ovs_host: Host) -> None:
    """Open vSwitch has the external ids by which Neutron's agent binds the port, on br-int."""
    half = ovs_host.half()
    ovs_host.apply(half)
    assert ovs_host.vswitch is not None
    for key, value in external_ids(half.wanted).items():
        found = ovs_host.vswitch.vsctl("get", "Interface", "o-hm0", f"external_ids:{key}")
        assert found.strip().strip('"') == value
    assert ovs_host.vswitch.vsctl("port-to-br", "o-hm0").strip() == BRIDGE


def test_neutron_knows_the_tap_of_a_linux_bridge(bridge_host: Host) -> None:
    """The other end has the name that Neutron's agent looks for, on the network's bridge."""
    bridge_host.apply(bridge_host.half())
    rows = {row["ifname"]: row for row in bridge_host.addresses()}
    assert rows["tap3b5b0f5e-8a"]["master"] == "brq6e2c1b64-5f"


@pytest.mark.parametrize("version", [4, 6])
def test_heartbeats_and_logs_come_in_and_nothing_else(host: Host, version: int) -> None:
    """An amphora reaches UDP 5555 and the logs' port, by fragments too, and no other port."""
    host.apply(host.half(CONTROLLER[version]))
    host.ping(version)
    assert host.is_reached(socket.SOCK_DGRAM, version, HEARTBEAT_PORT, b"heartbeat")
    assert host.is_reached(socket.SOCK_DGRAM, version, HEARTBEAT_PORT, b"h" * 9000)
    assert host.is_reached(socket.SOCK_DGRAM, version, LOG_PORT, b"log")
    assert not host.is_reached(socket.SOCK_DGRAM, version, HEARTBEAT_PORT + 1, b"heartbeat")
    assert not host.is_reached(socket.SOCK_STREAM, version, HEARTBEAT_PORT, b"heartbeat")
    assert not host.is_reached(socket.SOCK_STREAM, version, 22, b"ssh")
    # The control: without rules, the same server is reached.
    run(*host.namespace.command("nft", "flush", "ruleset"))
    assert host.is_reached(socket.SOCK_STREAM, version, 22, b"ssh")


@pytest.mark.parametrize("version", [4, 6])
def test_only_the_interface_answers_for_its_address(host: Host, version: int) -> None:
    """An amphora learns the port's MAC for the management address, not that of the bridge."""
    host.apply(host.half(CONTROLLER[version]))
    host.ping(version)
    address = str(CONTROLLER[version].ip)
    known = run(*host.amphora.command("ip", "neighbour", "show", address, "dev", "nic"))
    assert known.split()[:3] == [address, "lladdr", MAC]


@pytest.mark.parametrize("version", [4, 6])
def test_controller_reaches_the_amphora(host: Host, version: int) -> None:
    """A connection from the controller to port 9443 of an amphora carries data both ways."""
    host.apply(host.half(CONTROLLER[version]))
    with host.amphora.entered():
        server = socket.create_server((str(AMPHORA[version].ip), API_PORT), family=FAMILY[version])
    with host.namespace.entered():
        client = socket.create_connection(server.getsockname()[:2], timeout=_DEADLINE_S)
    with server, client, server.accept()[0] as accepted:
        accepted.settimeout(_DEADLINE_S)
        client.sendall(b"request")
        assert accepted.recv(100) == b"request"
        accepted.sendall(b"answer")
        assert client.recv(100) == b"answer"


def test_other_interfaces_are_not_concerned(host: Host) -> None:
    """What comes by another interface is let in as before."""
    host.apply(host.half())
    with namespace("lan") as lan:
        host.namespace.ip("link", "set", "gateway", "netns", lan.name)
        lan.ip("address", "add", "203.0.113.1/24", "dev", "gateway")
        lan.ip("link", "set", "gateway", "up")
        with host.namespace.entered():
            server = socket.create_server(("203.0.113.2", 22))
        with server, lan.entered():
            socket.create_connection(("203.0.113.2", 22), timeout=_DEADLINE_S).close()


def test_second_run_changes_nothing(host: Host) -> None:
    """When all is as it should be, there is no change to do."""
    assert host.apply(host.half())
    assert host.apply(host.half()) == []


def test_routes_and_resolver_stay(host: Host) -> None:
    """While the interface is there, default routes and resolv.conf are byte for byte the same."""
    before = host.snapshot()
    host.apply(host.half(CONTROLLER[6]))
    after = host.snapshot()
    assert after["resolv.conf"] == before["resolv.conf"]
    for old, new in zip(_default_routes(before), _default_routes(after), strict=True):
        assert old == new
        assert old.startswith("default via ")
    run_argv = host.namespace.command("sysctl", "-n", "net.ipv6.conf.o-hm0.accept_ra")
    assert run(*run_argv).strip() == "0"


def test_router_advertisements_are_refused(host: Host) -> None:
    """A router that an amphora plays gets no default route, and would get one if it were heard."""
    host.apply(host.half(CONTROLLER[6]))
    before = host.default_routes()
    host.advertise_router()
    host.ping(6)
    assert host.default_routes() == before
    # The control.
    run(*host.namespace.command("sysctl", "-w", "net.ipv6.conf.o-hm0.accept_ra=2"))
    host.advertise_router()
    waiting.until(
        "a route by the advertisement",
        lambda: host.default_routes() != before or None,
        deadline_s=_DEADLINE_S,
        every_s=0.1,
    )


def _default_routes(snapshot: dict[str, object]) -> list[str]:
    routes = snapshot["routes"]
    assert isinstance(routes, list)
    lines = [line for text in routes for line in text.splitlines()]
    return [line for line in lines if line.startswith("default")]


def test_teardown_leaves_nothing(host: Host) -> None:
    """After the removals everything is as it was before, and there is none left."""
    before = host.snapshot()
    host.apply(host.half())
    assert host.snapshot() != before
    assert host.remove(host.half())
    assert host.snapshot() == before
    assert host.remove(host.half()) == []


def test_dry_run_does_nothing(host: Host) -> None:
    """Looking alone tells of files, commands and reasons, and leaves the host as it is."""
    before = host.snapshot()
    told = "\n".join(host.look(host.half()))
    assert "+Description=o-hm0" in told
    assert "udp dport 5555 accept" in told
    assert "there is no interface o-hm0" in told
    assert host.snapshot() == before


def test_boot_brings_it_back(host: Host) -> None:
    """When interface and rules are gone, the unit alone makes them again, as they were."""
    half = host.half(CONTROLLER[6])
    host.apply(half)
    before = host.snapshot()
    run(*host.namespace.command("nft", "flush", "ruleset"))
    if host.vswitch is not None:
        host.vswitch.vsctl("del-port", "o-hm0")
    else:
        host.namespace.ip("link", "delete", "o-hm0")
    assert host.snapshot() != before
    with host.namespace.entered():
        host.units.reboot()
    assert host.snapshot() == before
    assert host.apply(half) == []


def test_reboot_with_open_vswitch_is_survived(ovs_host: Host) -> None:
    """At a boot Open vSwitch makes its port again without an address; the unit completes it."""
    half = ovs_host.half()
    ovs_host.apply(half)
    assert ovs_host.vswitch is not None
    ovs_host.vswitch.stop()
    for link in ("o-hm0", BRIDGE):
        ovs_host.namespace.ip("link", "delete", link)
    ovs_host.vswitch.start()
    assert ovs_host.interface()["addr_info"] == []
    assert any("without 192.0.2.11/24" in told for told in ovs_host.look(half))
    with ovs_host.namespace.entered():
        ovs_host.units.reboot()
    assert ovs_host.apply(half) == []


def test_boot_waits_for_the_bridge_of_open_vswitch(ovs_host: Host) -> None:
    """The unit's commands wait for a bridge that comes late, and fail for no other reason."""
    half = ovs_host.half()
    ovs_host.apply(half)
    vswitch = ovs_host.vswitch
    assert vswitch is not None
    vswitch.vsctl("del-br", BRIDGE)
    late = ovs_host.namespace.command(
        *("sh", "-c", f"sleep 1; ovs-vsctl --db={vswitch.database} add-br {BRIDGE}"
          f" -- set Bridge {BRIDGE} datapath_type=netdev"),
    )  # fmt: skip
    with subprocess.Popen(late), ovs_host.namespace.entered():
        ovs_host.units.reboot()
    assert ovs_host.apply(half) == []


@pytest.mark.parametrize("done_before", range(4))
def test_interrupted_run_goes_on(host: Host, done_before: int) -> None:
    """A run that was broken off after any change is completed by the next one."""
    with host.namespace.entered():
        for _, change in zip(range(done_before), host.half().changes(), strict=False):
            change.do()
    assert host.apply(host.half())
    assert host.apply(host.half()) == []
    host.ping(4)


def test_new_address_replaces_the_old_one(host: Host) -> None:
    """When the site's address changes, the interface has the new one only, and so after a boot."""
    host.apply(host.half())
    moved = ip_interface("192.0.2.12/24")
    assert "take 192.0.2.11/24 from o-hm0" in host.apply(host.half(moved))
    with host.namespace.entered():
        host.units.reboot()
    infos = host.interface()["addr_info"]
    assert isinstance(infos, list)
    assert [info["local"] for info in infos if info["scope"] == "global"] == ["192.0.2.12"]


def test_new_port_replaces_the_old_one(host: Host) -> None:
    """When the Neutron port was made anew, the interface becomes that port's."""
    host.apply(host.half())
    again = host.half(port_id="77777777-8a1c-4b8a-9c1a-2f1d0c5c4e11")
    assert host.apply(again)
    assert host.apply(again) == []
    host.ping(4)


def test_interface_made_by_hand_is_taken_over(ovs_host: Host) -> None:
    """An o-hm0 of the walk-through, that stands for the same port, is completed and not refused."""
    half = ovs_host.half()
    assert ovs_host.vswitch is not None
    ovs_host.vswitch.vsctl(
        *("add-port", BRIDGE, "o-hm0", "--", "set", "Interface", "o-hm0", "type=internal"),
        f"external_ids:iface-id={PORT_ID}",
    )
    ovs_host.apply(half)
    assert ovs_host.apply(half) == []


def test_foreign_interface_is_refused(ovs_host: Host) -> None:
    """An o-hm0 that stands for another port is named and left alone, also by the removals."""
    assert ovs_host.vswitch is not None
    ovs_host.vswitch.vsctl(
        *("add-port", BRIDGE, "o-hm0", "--", "set", "Interface", "o-hm0", "type=internal"),
        "external_ids:iface-id=another",
    )
    before = ovs_host.snapshot()
    with pytest.raises(ControllerError, match="o-hm0 is there, and is not"):
        ovs_host.apply(ovs_host.half())
    ovs_host.remove(ovs_host.half())
    assert ovs_host.snapshot() == before


def test_foreign_interface_beside_a_linux_bridge_is_refused(bridge_host: Host) -> None:
    """An o-hm0 of another kind is named and left alone."""
    bridge_host.namespace.ip("link", "add", "o-hm0", "type", "bridge")
    before = bridge_host.snapshot()
    with pytest.raises(ControllerError, match="o-hm0 is there, and is not"):
        bridge_host.apply(bridge_host.half())
    bridge_host.remove(bridge_host.half())
    assert bridge_host.snapshot() == before


def test_missing_bridge_of_open_vswitch_is_named(ovs_host: Host) -> None:
    """Without the bridge nothing is changed, and the error names it."""
    before = ovs_host.snapshot()
    with pytest.raises(ControllerError, match="has no bridge br-other"):
        ovs_host.apply(ovs_host.half(bridge="br-other"))
    assert ovs_host.snapshot() == before


def test_silent_open_vswitch_is_named(ovs_host: Host) -> None:
    """Where Open vSwitch does not run, the error says so instead of waiting."""
    assert ovs_host.vswitch is not None
    ovs_host.vswitch.stop()
    with pytest.raises(ControllerError, match="Open vSwitch does not answer"):
        ovs_host.apply(ovs_host.half())


def test_missing_linux_bridge_is_named(bridge_host: Host) -> None:
    """Without a bridge of the network, the error names it and the agent that would make it."""
    half = dataclasses.replace(bridge_host.half(bridge="brq-other"), agent_deadline_s=0.0)
    with pytest.raises(ControllerError, match="there is no bridge brq-other"):
        bridge_host.apply(half)


def test_bridge_of_neutrons_agent_is_awaited(bridge_host: Host) -> None:
    """A bridge that is made only when the tap is there, as Neutron's agent does, is waited for."""
    half = bridge_host.half(bridge="brq-late")
    agent = bridge_host.namespace.command(
        *("sh", "-c", f"until ip link show {half.wanted.tap}; do sleep 0.1; done; sleep 0.5;"
          " ip link add brq-late type bridge"),
    )  # fmt: skip
    with subprocess.Popen(agent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        bridge_host.apply(half)
    assert bridge_host.apply(half) == []


@pytest.mark.parametrize("address", ["203.0.113.2/24", "203.0.113.200/25"])
def test_taken_address_is_refused(host: Host, address: str) -> None:
    """An address or a network that another interface has is refused before anything changes."""
    before = host.snapshot()
    with pytest.raises(ControllerError, match=r"eth0 has 203\.0\.113\.2/24 already"):
        host.apply(host.half(ip_interface(address)))
    assert host.snapshot() == before


def test_unwritable_directory_is_named(host: Host) -> None:
    """When the unit cannot be written, the error names the path."""
    half = host.half()
    place = dataclasses.replace(half.place, rules=Path("/proc/rules.nft"))
    with pytest.raises(ControllerError, match=r"/proc/rules\.nft cannot be written"):
        host.apply(dataclasses.replace(half, place=place))
