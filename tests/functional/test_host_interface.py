# SPDX-License-Identifier: Apache-2.0
"""The health manager's interface, with real Open vSwitch, a real Linux bridge and real rules."""

import dataclasses
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.hostnet.interface import external_ids
from amphora_controller.site_host import Plug
from tests.support import waiting
from tests.support.controller_host import (
    AMPHORA,
    API_PORT,
    CONTROLLER,
    FAMILY,
    HEARTBEAT_PORT,
    LOG_PORT,
    MAC,
    MTU,
    PORT_ID,
    Host,
    controller,
)
from tests.support.netns import namespace, run
from tests.support.openvswitch import BRIDGE

pytestmark = pytest.mark.netns

_DEADLINE_S = 10.0


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
    return [line for line in routes if line.startswith("default")]


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
