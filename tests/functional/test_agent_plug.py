# SPDX-License-Identifier: Apache-2.0
"""Plugging a VIP into the namespace, with the real kernel."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from tests.functional.conftest import GATEWAY, NIC_MAC, Place
from tests.support import http_member, netns
from tests.support.mutual_tls import Answer, Client

VIP = "198.51.100.9"
VRRP_IP = "198.51.100.4"
MGMT_MAC = "02:00:00:00:00:99"
BODY = {
    "subnet_cidr": "198.51.100.0/24",
    "gateway": str(GATEWAY.ip),
    "mac_address": NIC_MAC,
    "mtu": 1450,
    "vrrp_ip": VRRP_IP,
    "host_routes": [{"destination": "203.0.113.0/24", "nexthop": "198.51.100.2"}],
    "additional_vips": [],
    "is_sriov": False,
}


def plug(controller: Client, vip: str = VIP, **changes: Any) -> Answer:
    """POST plug/vip as Octavia's driver does."""
    body = json.dumps({**BODY, **changes}).encode()
    return controller.request("POST", f"/1.0/plug/vip/{vip}", body)


def shown(agent: Place, *what: str) -> list[dict[str, Any]]:
    """What `ip` says of the namespace."""
    found = netns.run("ip", "-netns", agent.inner.name, "-json", *what)
    return list(json.loads(found or "[]"))


def addresses(agent: Place) -> set[str]:
    """Addresses of eth1 with their prefix lengths."""
    entries = shown(agent, "address", "show", "dev", "eth1", "scope", "global")
    return {
        f"{item['local']}/{item['prefixlen']}"
        for entry in entries
        for item in entry["addr_info"]
        if item
    }


def reached(agent: Place) -> bool:
    """Whether traffic from the network reaches a server on the VIP, and its answer comes back."""
    vip = IPv4Address(VIP)
    with http_member.http_member(agent.inner, "vip", vip):
        return http_member.fetch(agent.network, vip, 80).text == "vip"


@pytest.fixture
def nic_outside(agent: Place) -> None:
    """The NIC is in the root namespace of the amphora, whatever a test did before."""
    links = {link["ifname"] for link in shown(agent, "link", "show")}
    if "eth1" in links:
        agent.inner.ip("link", "set", "eth1", "down")
        agent.inner.ip("link", "set", "eth1", "name", "nic0", "netns", agent.outer.name)
    for rule in shown(agent, "rule", "show"):
        if rule.get("table") == "1":
            agent.inner.ip("rule", "delete", "from", rule["src"], "table", "1")


@pytest.mark.usefixtures("nic_outside")
def test_plug_vip_reaches_its_state_before_it_answers(controller: Client, agent: Place) -> None:
    """When the answer is out, eth1 has both addresses, its MTU, policy routes and the rule."""
    answer = plug(controller)
    assert (answer.status, answer.json()["message"]) == (202, "OK")
    assert addresses(agent) == {f"{VRRP_IP}/24", f"{VIP}/32"}
    (link,) = shown(agent, "link", "show", "dev", "eth1")
    assert link["mtu"] == 1450
    assert "UP" in link["flags"]
    table = {
        (route["dst"], route.get("gateway"), route.get("prefsrc"))
        for route in shown(agent, "route", "show", "table", "1")
    }
    assert table == {
        ("default", str(GATEWAY.ip), None),
        ("198.51.100.0/24", None, VIP),
        ("203.0.113.0/24", "198.51.100.2", None),
    }
    main = {(route["dst"], route.get("gateway")) for route in shown(agent, "route", "show")}
    assert ("default", str(GATEWAY.ip)) in main
    rules = [rule for rule in shown(agent, "rule", "show") if rule["src"] == VIP]
    assert [rule["table"] for rule in rules] == ["1"]
    assert f"{NIC_MAC} eth1\n" in (agent.base / "plugged_interfaces").read_text()


@pytest.mark.usefixtures("nic_outside")
def test_plug_vip_can_be_reached(controller: Client, agent: Place) -> None:
    """A server on the VIP answers the network that the NIC leads to."""
    assert plug(controller).status == 202
    assert reached(agent)


@pytest.mark.usefixtures("nic_outside")
def test_plug_vip_again_is_a_conflict_and_changes_nothing(controller: Client, agent: Place) -> None:
    """The same request again is 409, which the driver takes as plugged."""
    assert plug(controller).status == 202
    before = (addresses(agent), shown(agent, "route", "show", "table", "all"))
    answer = plug(controller)
    assert (answer.status, answer.json()["message"]) == (409, "Interface already exists")
    assert (addresses(agent), shown(agent, "route", "show", "table", "all")) == before


@pytest.mark.usefixtures("nic_outside")
def test_plug_vip_again_repairs_what_is_missing(controller: Client, agent: Place) -> None:
    """After a plug that was broken off in between, the same request completes it."""
    assert plug(controller).status == 202
    agent.inner.ip("address", "delete", f"{VIP}/32", "dev", "eth1")
    agent.inner.ip("route", "delete", "default", "table", "1")
    assert plug(controller).status == 202
    assert addresses(agent) == {f"{VRRP_IP}/24", f"{VIP}/32"}
    assert "default" in {r["dst"] for r in shown(agent, "route", "show", "table", "1")}


@pytest.mark.usefixtures("nic_outside")
def test_plug_vip_again_changes_the_mtu_of_a_link_that_is_up(
    controller: Client, agent: Place
) -> None:
    """Another MTU is taken over at once, and costs neither addresses nor policy routes."""
    assert plug(controller).status == 202
    routes = shown(agent, "route", "show", "table", "1")
    assert plug(controller, mtu=1400).status == 202
    (link,) = shown(agent, "link", "show", "dev", "eth1")
    assert link["mtu"] == 1400
    assert addresses(agent) == {f"{VRRP_IP}/24", f"{VIP}/32"}
    assert shown(agent, "route", "show", "table", "1") == routes
    assert plug(controller, mtu=1400).status == 409


@pytest.mark.usefixtures("nic_outside")
def test_plug_vip_replaces_addresses_without_losing_any(controller: Client, agent: Place) -> None:
    """A changed address takes the old one's place, with promote_secondaries at 0 too."""
    assert plug(controller).status == 202
    assert plug(controller, vrrp_ip="198.51.100.5").status == 202
    assert addresses(agent) == {"198.51.100.5/24", f"{VIP}/32"}


@pytest.mark.usefixtures("nic_outside")
def test_plug_vip_dual_stack(controller: Client, agent: Place) -> None:
    """An additional VIP of the other family gets its address, routes and rule."""
    extra = {
        "ip_address": "2001:db8::9",
        "subnet_cidr": "2001:db8::/64",
        "gateway": "2001:db8::1",
        "host_routes": [],
    }
    assert plug(controller, additional_vips=[extra]).status == 202
    assert "2001:db8::9/128" in addresses(agent)
    table = shown(agent, "-6", "route", "show", "table", "1")
    assert {"default", "2001:db8::/64"} == {route["dst"] for route in table}
    assert [
        rule["table"] for rule in shown(agent, "-6", "rule", "show") if rule["src"] == "2001:db8::9"
    ] == ["1"]
    assert plug(controller, additional_vips=[extra]).status == 409


def test_plug_vip_without_the_nic_is_the_retryable_404(controller: Client) -> None:
    """A NIC that is not there yet is the one 404 that the controller asks again after."""
    answer = plug(controller, mac_address="02:00:00:00:00:77")
    assert answer.status == 404
    assert "No suitable network interface found" in answer.json()["details"]


@pytest.mark.parametrize(
    ("vip", "changes", "shape"),
    [
        ("198.51.100.300", {}, "message"),
        ("192.0.2.1", {}, "message"),
        (VIP, {"subnet_cidr": "198.51.100.1/24"}, "message"),
        (VIP, {"vrrp_ip": "192.0.2.1"}, "message"),
        (VIP, {"mac_address": 5}, "error"),
    ],
)
@pytest.mark.usefixtures("nic_outside")
def test_plug_vip_refuses_bad_input_and_changes_nothing(
    controller: Client, agent: Place, vip: str, changes: dict[str, Any], shape: str
) -> None:
    """Bad input is 400 in one of the two shapes, and the NIC stays where it is."""
    answer = plug(controller, vip, **changes)
    assert answer.status == 400
    assert shape in answer.json()
    assert "eth1" not in {link["ifname"] for link in shown(agent, "link", "show")}


@pytest.mark.usefixtures("nic_outside")
def test_interface_is_found_in_the_live_kernel(controller: Client, agent: Place) -> None:
    """GET interface answers for an address that is there now, not for a stored one."""
    first = plug(controller)
    assert first.status == 202, first.body
    found = controller.request("GET", f"/1.0/interface/{VRRP_IP}").json()
    assert found == {"message": "OK", "interface": "eth1"}
    agent.inner.ip("address", "delete", f"{VIP}/32", "dev", "eth1")
    gone = controller.request("GET", f"/1.0/interface/{VIP}")
    assert gone.status == 404
    assert gone.json()["message"] == "Error interface not found for IP address"
    assert controller.request("GET", "/1.0/interface/nonsense").status == 400


@pytest.mark.usefixtures("nic_outside")
def test_details_count_the_traffic_of_the_namespace(controller: Client, agent: Place) -> None:
    """The counters in details are those of the namespace's interfaces."""
    assert plug(controller).status == 202
    assert reached(agent)
    networks = controller.request("GET", "/1.0/details").json()["networks"]
    assert set(networks) == {"eth1"}
    assert networks["eth1"]["network_rx"] > 0
    assert networks["eth1"]["network_tx"] > 0


# --- networks of members ----------------------------------------------------------------------

MEMBER_MAC = "02:00:00:00:00:02"
FIXED_IP = {
    "ip_address": "192.0.2.4",
    "subnet_cidr": "192.0.2.0/24",
    "gateway": "192.0.2.1",
    "host_routes": [{"destination": "203.0.113.128/25", "nexthop": "192.0.2.2"}],
}
SECOND_IP = {"ip_address": "2001:db8:1::4", "subnet_cidr": "2001:db8:1::/64"}
EXTRA_VIP = {"ip_address": "198.51.100.10", "subnet_cidr": "198.51.100.0/24", "gateway": None}


def plug_network(controller: Client, *fixed_ips: dict[str, Any], **changes: Any) -> Answer:
    """POST plug/network as Octavia's driver does."""
    body = {"mac_address": MEMBER_MAC, "fixed_ips": fixed_ips, "mtu": 1450, **changes}
    return controller.request("POST", "/1.0/plug/network", json.dumps(body).encode())


def vip_net_info(**changes: Any) -> dict[str, Any]:
    """What the driver adds for the VRRP port; it never names additional VIPs here."""
    return {"mac_address": NIC_MAC, "vip_net_info": {**BODY, "vip": VIP, **changes}}


def addresses_of(agent: Place, name: str) -> set[str]:
    """Addresses of an interface with their prefix lengths; none if it is not there."""
    return {
        f"{item['local']}/{item['prefixlen']}"
        for entry in shown(agent, "address", "show", "scope", "global")
        if entry.get("ifname") == name
        for item in entry["addr_info"]
        if item
    }


@pytest.fixture
def member_nic(agent: Place) -> Iterator[None]:
    """A second NIC in the root namespace of the amphora."""
    agent.outer.ip(
        *("link", "add", "nic1", "address", MEMBER_MAC, "type", "veth"),
        *("peer", "name", "net1", "netns", agent.network.name),
    )
    agent.network.ip("link", "set", "net1", "up")
    yield
    agent.network.ip("link", "delete", "net1")


@pytest.mark.usefixtures("nic_outside", "member_nic")
def test_plug_network_gets_addresses_but_no_gateway(controller: Client, agent: Place) -> None:
    """The first member NIC is eth2, with its addresses and host routes, beside an intact VIP."""
    assert plug(controller).status == 202
    rules = shown(agent, "rule", "show")
    answer = plug_network(controller, FIXED_IP, SECOND_IP)
    assert (answer.status, answer.json()["details"]) == (202, "Plugged on interface eth2")
    assert addresses_of(agent, "eth2") == {"192.0.2.4/24", "2001:db8:1::4/64"}
    assert {route["dst"] for route in shown(agent, "route", "show", "dev", "eth2")} == {
        "192.0.2.0/24",
        "203.0.113.128/25",
    }
    assert shown(agent, "rule", "show") == rules
    assert addresses(agent) == {f"{VRRP_IP}/24", f"{VIP}/32"}
    assert f"{MEMBER_MAC} eth2\n" in (agent.base / "plugged_interfaces").read_text()


@pytest.mark.usefixtures("nic_outside", "member_nic")
def test_plug_network_again_takes_the_full_list(controller: Client, agent: Place) -> None:
    """What is not in the list any more is removed, what is new is added, repeats are fine."""
    assert plug_network(controller, FIXED_IP).status == 202
    for fixed_ips in ((FIXED_IP, SECOND_IP), (SECOND_IP,), (SECOND_IP,), ()):
        answer = plug_network(controller, *fixed_ips)
        assert (answer.status, answer.json()["details"]) == (202, "Updated existing interface eth2")
        assert {address.split("/")[0] for address in addresses_of(agent, "eth2")} == {
            fixed_ip["ip_address"] for fixed_ip in fixed_ips
        }


@pytest.mark.usefixtures("nic_outside", "member_nic")
def test_plug_network_takes_the_first_free_name(controller: Client, agent: Place) -> None:
    """A NIC that was unplugged frees its name, whatever is recorded of it."""
    assert plug_network(controller, FIXED_IP).status == 202
    agent.inner.ip("link", "delete", "eth2")
    other = "02:00:00:00:00:03"
    agent.outer.ip(
        *("link", "add", "nic1", "address", other, "type", "veth"),
        *("peer", "name", "net1", "netns", agent.network.name),
    )
    assert plug_network(controller, FIXED_IP, mac_address=other).status == 202
    assert addresses_of(agent, "eth2") == {"192.0.2.4/24"}
    names = (agent.base / "plugged_interfaces").read_text().splitlines()
    assert [line for line in names if line.endswith(" eth2")] == [f"{other} eth2"]


def test_plug_network_without_its_nic_asks_to_come_again(controller: Client) -> None:
    """A NIC that is not there yet is the one 404 that the driver repeats."""
    answer = plug_network(controller, FIXED_IP, mac_address="02:00:00:00:00:99")
    assert answer.status == 404
    assert "No suitable network interface found" in answer.json()["details"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "Invalid port information"),
        (b"[]", "Invalid port information"),
        (b"{}", "mac_address"),
        (b'{"mac_address":"x"}', "Invalid MAC address"),
        (
            b'{"mac_address":"02:00:00:00:00:02","fixed_ips":[{"ip_address":"x","subnet_cidr":""}]}',
            "Invalid network port",
        ),
    ],
)
def test_plug_network_that_is_wrong(controller: Client, body: bytes, named: str) -> None:
    """A wrong request is 400 and names what is wrong."""
    answer = controller.request("POST", "/1.0/plug/network", body)
    assert answer.status == 400
    assert named in answer.body.decode()


@pytest.mark.usefixtures("nic_outside")
def test_plug_network_on_the_vips_nic_keeps_every_vip(controller: Client, agent: Place) -> None:
    """Members in the VIP's network add addresses there; additional VIPs survive, both ways."""
    assert plug(controller, additional_vips=[EXTRA_VIP]).status == 202
    vips = {f"{VRRP_IP}/24", f"{VIP}/32", "198.51.100.10/32"}
    assert addresses(agent) == vips
    own = {"ip_address": "198.51.100.20", "subnet_cidr": "198.51.100.0/24", "gateway": None}
    answer = plug_network(controller, own, FIXED_IP, **vip_net_info(additional_vips=[]))
    assert (answer.status, answer.json()["details"]) == (202, "Updated existing interface eth1")
    members = {"198.51.100.20/24", "192.0.2.4/24"}
    assert addresses(agent) == vips | members
    rules = {rule["src"] for rule in shown(agent, "rule", "show") if rule.get("table") == "1"}
    assert rules == {VIP, "198.51.100.10"}
    # The VIP's plug comes again after a restart of the controller.
    assert plug(controller, additional_vips=[EXTRA_VIP]).status == 409
    assert addresses(agent) == vips | members
    assert plug_network(controller, FIXED_IP, **vip_net_info()).status == 202
    assert addresses(agent) == vips | {"192.0.2.4/24"}


@pytest.mark.usefixtures("nic_outside")
def test_plug_network_without_vip_info_keeps_the_vip(controller: Client, agent: Place) -> None:
    """Controllers that do not send the VIP's data do not lose the VIP."""
    assert plug(controller).status == 202
    assert plug_network(controller, FIXED_IP, mac_address=NIC_MAC).status == 202
    assert addresses(agent) == {f"{VRRP_IP}/24", f"{VIP}/32", "192.0.2.4/24"}


@pytest.mark.usefixtures("nic_outside")
def test_plug_network_with_vip_info_can_come_first(controller: Client, agent: Place) -> None:
    """The VRRP port's NIC becomes eth1 with VIP and members, also when it is still outside."""
    assert plug_network(controller, FIXED_IP, **vip_net_info()).status == 202
    assert addresses(agent) == {f"{VRRP_IP}/24", f"{VIP}/32", "192.0.2.4/24"}


@pytest.mark.usefixtures("nic_outside")
def test_plug_vip_that_comes_again_while_it_runs_gets_the_same_answer(
    controller: Client, agent: Place
) -> None:
    """Of equal requests at once all are 202; only one that comes afterwards is a conflict."""
    # Detection of duplicate IPv6 addresses keeps the first one busy for a second.
    extra = {"ip_address": "2001:db8::9", "subnet_cidr": "2001:db8::/64"}
    with ThreadPoolExecutor(3) as pool:
        answers = list(
            pool.map(lambda _: plug(controller, additional_vips=[extra]).status, range(3))
        )
    assert answers == [202, 202, 202]
    assert "2001:db8::9/128" in addresses(agent)
    assert plug(controller, additional_vips=[extra]).status == 409


def test_plug_vip_never_takes_the_management_interface(controller: Client, agent: Place) -> None:
    """A NIC with an address in the root namespace, and loopback, are refused and stay."""
    agent.outer.ip("link", "add", "mgmt0", "address", MGMT_MAC, "type", "veth", "peer", "mgmt1")
    try:
        agent.outer.add_address("mgmt0", IPv4Interface("192.0.2.10/24"))
        answer = plug(controller, mac_address=MGMT_MAC)
        assert (answer.status, answer.json()["message"]) == (400, "Interface is in use")
        outside = netns.run("ip", "-netns", agent.outer.name, "-json", "link", "show")
        assert "mgmt0" in {link["ifname"] for link in json.loads(outside)}
    finally:
        agent.outer.ip("link", "delete", "mgmt0")
    loopback = plug(controller, mac_address="00:00:00:00:00:00")
    assert loopback.status == 404


@pytest.mark.usefixtures("nic_outside")
@pytest.mark.parametrize("kind", ["vip", "network"])
def test_plug_that_the_kernel_refuses_is_500_until_it_can_be(
    controller: Client, agent: Place, kind: str
) -> None:
    """A foreign eth1 in the way is 500 with the reason; without it the same request succeeds."""
    agent.inner.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth1-peer")
    message = {"vip": "Error plugging VIP", "network": "Error plugging vip"}[kind]

    def request() -> Answer:
        if kind == "vip":
            return plug(controller)
        return plug_network(controller, **vip_net_info())

    try:
        answer = request()
        assert (answer.status, answer.json()["message"]) == (500, message)
        assert "Another NIC is eth1" in answer.json()["details"]
    finally:
        agent.inner.ip("link", "delete", "eth1")
    assert request().status == 202
    # Members' addresses that an earlier plug had put there stay.
    assert addresses(agent) >= {f"{VRRP_IP}/24", f"{VIP}/32"}


@pytest.mark.usefixtures("nic_outside")
def test_plug_network_on_a_vips_nic_of_unknown_vips_touches_nothing(
    controller: Client, agent: Place
) -> None:
    """Without its file nobody knows which VIPs eth1 has: 500, and they stay."""
    assert plug(controller).status == 202
    (agent.directory / "interfaces" / "eth1.json").write_bytes(b"{")
    answer = plug_network(controller, FIXED_IP, mac_address=NIC_MAC)
    assert (answer.status, answer.json()["message"]) == (500, "Error plugging network")
    assert "plug the VIP again" in answer.json()["details"]
    assert addresses(agent) >= {f"{VRRP_IP}/24", f"{VIP}/32"}
