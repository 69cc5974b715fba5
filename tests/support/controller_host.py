# SPDX-License-Identifier: Apache-2.0
"""A controller with a bridge of Neutron's and an amphora on it, each a namespace.

What systemd does on a host, tests.support.units does here: it runs the commands of the unit.
"""

import contextlib
import json
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from amphora_controller.hostnet import files
from amphora_controller.hostnet.interface import Address, HostInterface, bridge_name, tap_name
from amphora_controller.setup.hm_port_host import HostHalf, Place
from amphora_controller.site_host import Plug
from tests.support import need
from tests.support.netns import Namespace, namespace, run
from tests.support.openvswitch import BRIDGE, OpenVSwitch, open_vswitch
from tests.support.units import FileUnits

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
        tables = [
            run("ip", "-netns", name, family, "route", "show", "table", "all")
            for family in ("-4", "-6")
        ]
        # The kernel adds and changes these by itself, up to seconds after a link is up.
        late = ("fe80:", "local fe80:", "anycast fe80:", "multicast ff00:")
        routes = [
            line.replace(" linkdown", "")
            for table in tables
            for line in table.splitlines()
            if not line.startswith(late)
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
