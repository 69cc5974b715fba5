# SPDX-License-Identifier: Apache-2.0
"""Interfaces that come back by themselves, and those whose addresses the network gives."""

import json
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

import pytest

from tests.functional.conftest import NIC_MAC, REPOSITORY, Place
from tests.functional.test_agent_plug import (
    FIXED_IP,
    MEMBER_MAC,
    VIP,
    VRRP_IP,
    addresses,
    addresses_of,
    member_nic,
    nic_outside,
    plug,
    plug_network,
    reached,
    shown,
)
from tests.support import dhcp, waiting
from tests.support.mutual_tls import Client

__all__ = ["member_nic", "nic_outside"]

OTHER = "198.51.100.10"


def command(agent: Place, *argv: str) -> subprocess.CompletedProcess[str]:
    """amphora-interface, as a unit or a person runs it."""
    return subprocess.run(
        agent.outer.command(
            *(sys.executable, "-W", "error", "-m", "amphora_agent.interface_command", *argv),
            *("--config-file", str(agent.config_file), "--netns", agent.inner.name),
        ),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def routes(agent: Place) -> set[tuple[str, str, str | None]]:
    """Destination, device and gateway of every IPv4 route outside the local table."""
    return {
        (route["dst"], route["dev"], route.get("gateway"))
        for table in ("main", "1")
        for route in shown(agent, "route", "show", "table", table)
    }


def rules(agent: Place) -> set[str]:
    """Sources of the policy rules."""
    return {rule["src"] for rule in shown(agent, "rule", "show") if rule["src"] != "all"}


def reboot(agent: Place) -> None:
    """NICs are back in the root namespace under names of the kernel's, bare, and rules are gone."""
    for number, name in enumerate(("eth1", "eth2")):
        if name in {link["ifname"] for link in shown(agent, "link", "show")}:
            agent.inner.ip("link", "set", name, "down")
            agent.inner.ip("link", "set", name, "name", f"ens{number}", "netns", agent.outer.name)
    for source in rules(agent):
        agent.inner.ip("rule", "delete", "from", source)


@pytest.mark.usefixtures("nic_outside", "member_nic")
def test_everything_is_back_after_a_reboot(controller: Client, agent: Place) -> None:
    """Without a call of the controller all addresses, routes and rules are as before."""
    extra = {"ip_address": OTHER, "subnet_cidr": "198.51.100.0/24", "gateway": None}
    assert plug(controller, additional_vips=[extra]).status == 202
    assert plug_network(controller, FIXED_IP).status == 202
    before = (addresses(agent), addresses_of(agent, "eth2"), routes(agent), rules(agent))
    assert len(rules(agent)) == 2
    reboot(agent)
    assert not rules(agent)
    done = command(agent, "up", "all", "--wait")
    assert (done.returncode, done.stdout) == (0, "eth1 is up\neth2 is up\n"), done.stderr
    assert (addresses(agent), addresses_of(agent, "eth2"), routes(agent), rules(agent)) == before
    assert reached(agent)
    again = command(agent, "up", "all")
    assert (again.returncode, again.stdout) == (0, "eth1 is up already\neth2 is up already\n")


@pytest.mark.usefixtures("nic_outside", "member_nic")
def test_a_nic_that_is_gone_keeps_no_other_from_coming_back(
    controller: Client, agent: Place
) -> None:
    """A member NIC that was unplugged meanwhile is named, and the VIP is back all the same.

    Asked for by its name, it is an error.
    """
    assert plug(controller).status == 202
    assert plug_network(controller, FIXED_IP).status == 202
    reboot(agent)
    agent.outer.ip("link", "delete", "ens1")
    agent.network.ip("link", "add", "net1", "type", "veth", "peer", "name", "net1b")
    done = command(agent, "up", "all", "--wait")
    assert done.returncode == 0
    assert f"no NIC has {MEMBER_MAC}" in done.stdout
    alone = command(agent, "up", "eth2")
    assert (alone.returncode, alone.stdout) == (2, done.stdout.splitlines()[-1] + "\n")
    assert addresses(agent) == {f"{VRRP_IP}/24", f"{VIP}/32"}


@pytest.mark.usefixtures("nic_outside")
def test_down_takes_everything_away_and_up_brings_it_back(controller: Client, agent: Place) -> None:
    """`down` leaves no address, route or rule; `up` has them all again."""
    assert plug(controller).status == 202
    before = (addresses(agent), routes(agent), rules(agent))
    done = command(agent, "down", "eth1")
    assert (done.returncode, done.stdout) == (0, "eth1 is down\n"), done.stderr
    assert (addresses(agent), rules(agent)) == (set(), set())
    assert not {route for route in routes(agent) if route[1] == "eth1"}
    (link,) = shown(agent, "link", "show", "dev", "eth1")
    assert "UP" not in link["flags"]
    assert command(agent, "up", "eth1").returncode == 0
    assert (addresses(agent), routes(agent), rules(agent)) == before


@pytest.mark.parametrize(
    ("argv", "status", "told"),
    [
        (("up",), 1, "usage"),
        (("sideways", "eth1"), 1, "usage"),
        (("up", "eth9"), 2, "eth9.json is missing"),
        (("down", "eth9"), 2, "eth9.json is missing"),
    ],
)
def test_wrong_usage_is_told(agent: Place, argv: tuple[str, ...], status: int, told: str) -> None:
    """The exit status is 1 for wrong usage and 2 for a failure, with the reason on the output."""
    done = command(agent, *argv)
    assert done.returncode == status
    assert told in done.stdout


@pytest.mark.usefixtures("nic_outside")
def test_a_broken_file_is_named(controller: Client, agent: Place) -> None:
    """A file that cannot be read is named with what to do; plugging the VIP again mends it."""
    assert plug(controller).status == 202
    path = agent.directory / "interfaces/eth1.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "addresses": 5}))
    done = command(agent, "up", "eth1")
    assert done.returncode == 2
    assert "eth1.json is broken" in done.stdout
    assert "addresses" in done.stdout
    assert plug(controller).status == 202
    assert command(agent, "up", "eth1").returncode == 0


@pytest.mark.usefixtures("nic_outside", "member_nic")
def test_network_without_fixed_ips_takes_what_the_network_gives(
    controller: Client, agent: Place
) -> None:
    """A lease and a self-made IPv6 address are there with the answer, and no default route."""
    leased = IPv4Address("192.0.2.77")
    agent.network.add_address("net1", IPv4Interface("192.0.2.1/24"))
    agent.network.add_address("net1", IPv6Interface("2001:db8:7::1/64"))
    with dhcp.server(
        agent.network,
        "net1",
        network=IPv4Network("192.0.2.0/24"),
        router=IPv4Address("192.0.2.1"),
        lease=(MEMBER_MAC, leased),
        directory=agent.directory,
        advertised=IPv6Network("2001:db8:7::/64"),
    ):
        body = json.dumps({"mac_address": MEMBER_MAC, "fixed_ips": None, "mtu": 1450}).encode()
        answer = controller.request("POST", "/1.0/plug/network", body)
        assert answer.status == 202, answer.body

        def both() -> bool | None:
            found = addresses_of(agent, "eth2")
            return (f"{leased}/24" in found and any("2001:db8:7:" in one for one in found)) or None

        # One of the two may come a moment later; a VIP's way in does not wait for it.
        waiting.until("both addresses", both, deadline_s=10, every_s=0.1)
        assert "default" not in {route[0] for route in routes(agent) if route[1] == "eth2"}
        # The list comes after all: what was given goes.
        assert plug_network(controller, FIXED_IP).status == 202
    assert addresses_of(agent, "eth2") == {"192.0.2.4/24"}


@pytest.mark.usefixtures("nic_outside", "member_nic")
def test_plug_of_a_nic_under_two_names_is_refused(controller: Client, agent: Place) -> None:
    """A member's NIC is not the VIP's; the answer says what it is, and nothing changes."""
    assert plug_network(controller, FIXED_IP).status == 202
    before = {path: path.read_bytes() for path in (agent.directory / "interfaces").iterdir()}
    answer = plug(controller, mac_address=MEMBER_MAC)
    assert answer.status == 400
    assert f"{MEMBER_MAC} is eth2" in answer.json()["details"]
    after = {path: path.read_bytes() for path in (agent.directory / "interfaces").iterdir()}
    assert after == before


@pytest.mark.usefixtures("nic_outside")
def test_two_nics_with_one_mac_address_are_refused(controller: Client, agent: Place) -> None:
    """Nobody can tell which of them is meant; both are named."""
    agent.outer.ip("link", "add", "twin", "address", NIC_MAC, "type", "veth", "peer", "name", "far")
    answer = plug(controller)
    agent.outer.ip("link", "delete", "twin")
    assert answer.status == 400
    assert "twin" in answer.json()["details"]


@pytest.mark.usefixtures("nic_outside")
def test_ipv6_needs_its_least_mtu(controller: Client, agent: Place) -> None:
    """An MTU that would take IPv6 away is refused where there is IPv6, and only there."""
    extra = {"ip_address": "2001:db8::9", "subnet_cidr": "2001:db8::/64", "gateway": None}
    answer = plug(controller, mtu=1279, additional_vips=[extra])
    assert answer.status == 400
    assert "1280" in answer.json()["details"]
    assert "eth1" not in {link["ifname"] for link in shown(agent, "link", "show")}
    assert plug(controller, mtu=1279).status == 202


@pytest.mark.usefixtures("nic_outside")
def test_300_host_routes_are_there_with_the_answer(controller: Client, agent: Place) -> None:
    """Each is in both tables, and a request with half of them removes the rest."""
    many = [
        {"destination": f"10.{n // 256}.{n % 256}.0/24", "nexthop": "198.51.100.2"}
        for n in range(300)
    ]
    for count in (300, 150):
        assert plug(controller, host_routes=many[:count]).status == 202
        for table in ("main", "1"):
            found = shown(agent, "route", "show", "table", table)
            assert sum(route["dst"].startswith("10.") for route in found) == count


@pytest.mark.usefixtures("nic_outside", "member_nic")
def test_member_subnet_that_is_the_vips_serves_both(controller: Client, agent: Place) -> None:
    """A second NIC in the VIP's own subnet leaves the VIP reachable."""
    same = {"ip_address": "198.51.100.44", "subnet_cidr": "198.51.100.0/24", "host_routes": []}
    assert plug(controller).status == 202
    assert plug_network(controller, same).status == 202
    assert addresses_of(agent, "eth2") == {"198.51.100.44/24"}
    assert addresses(agent) == {f"{VRRP_IP}/24", f"{VIP}/32"}
    assert reached(agent)
