# SPDX-License-Identifier: Apache-2.0
"""network_data.json, good and odd."""

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from amphora_agent.configdrive import network
from amphora_agent.configdrive.network import Method, NetworkData, Nic, NicNetwork
from amphora_agent.models import Route
from tests.unit.configdrive.documents import as_bytes


def network_data(*networks: dict[str, Any], **link: object) -> NetworkData:
    """Network data with one NIC, its link called `tap0`."""
    links = [{"id": "tap0", "type": "ovs", "ethernet_mac_address": "fa:16:3e:00:00:01"} | link]
    entries = [{"id": "network0", "link": "tap0"} | network for network in networks]
    return network.network_data(as_bytes({"links": links, "networks": entries}))


def only_network(**fields: object) -> NicNetwork:
    """The network of a document that has one, and no problem."""
    data = network_data(fields)
    assert data.problems == ()
    return data.nics[0].networks[0]


def test_network_data_of_a_management_port_is_read() -> None:
    """The form that Nova gives a port on a subnet without DHCP and gateway."""
    data = network_data(
        {"type": "ipv4", "ip_address": "192.0.2.17", "netmask": "255.255.255.0", "routes": []},
        mtu=1442,
        vif_id="x",
    )
    network = NicNetwork(method=Method.STATIC, address=ip_interface("192.0.2.17/24"))
    nic = Nic(mac="fa:16:3e:00:00:01", mtu=1442, networks=(network,))
    assert data == NetworkData(nics=(nic,))


@pytest.mark.parametrize(
    ("address", "netmask", "expected"),
    [
        ("192.0.2.17", "255.255.255.255", "192.0.2.17/32"),
        ("192.0.2.17", "24", "192.0.2.17/24"),
        ("192.0.2.17", 24, "192.0.2.17/24"),
        ("192.0.2.17/25", None, "192.0.2.17/25"),
        ("2001:db8::17", "ffff:ffff:ffff:ffff::", "2001:db8::17/64"),
        ("2001:db8::17", "64", "2001:db8::17/64"),
        ("2001:db8::17/64", None, "2001:db8::17/64"),
        ("2001:db8::17", "::", "2001:db8::17/0"),
    ],
)
def test_network_data_netmask_is_read_in_each_form(
    address: str, netmask: object, expected: str
) -> None:
    """As a mask, as a number of bits, or behind the address."""
    kind = "ipv6" if ":" in address else "ipv4"
    network = only_network(type=kind, ip_address=address, netmask=netmask)
    assert network.address == ip_interface(expected)


@pytest.mark.parametrize(
    ("kind", "address", "netmask"),
    [
        ("ipv4", "192.0.2.17", None),
        ("ipv4", "192.0.2.17", 33),
        ("ipv4", "192.0.2.17", True),
        ("ipv4", "192.0.2.17", "0.0.0.255"),
        ("ipv4", "192.0.2.17", "255.0.255.0"),
        ("ipv4", "192.0.2.17", "ffff::"),
        ("ipv4", "192.0.2.300", "24"),
        ("ipv4", "0.0.0.0", "24"),
        ("ipv4", "2001:db8::17", "64"),
        ("ipv4", 3221225985, "24"),
        ("ipv6", "192.0.2.17", "24"),
        ("ipv6", "2001:db8::17", "129"),
        ("ipv6", "ff02::1", "64"),
        ("ipv6", "fe80::1%eth0\n[Network]", "64"),
        ("ipv6", None, "64"),
    ],
)
def test_network_data_bad_address_is_a_problem(kind: str, address: object, netmask: object) -> None:
    """A network that cannot be configured is left out and told; its neighbour stays."""
    data = network_data(
        {"type": kind, "ip_address": address, "netmask": netmask}, {"type": "ipv4_dhcp"}
    )
    assert [network.method for network in data.nics[0].networks] == [Method.DHCP4]
    [problem] = data.problems
    assert problem.startswith("networks[0]: ")


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("ipv4_dhcp", Method.DHCP4),
        ("ipv6_slaac", Method.SLAAC),
        ("ipv6_dhcpv6-stateless", Method.SLAAC),
        ("ipv6_dhcpv6-stateful", Method.DHCP6),
        ("ipv6_dhcp", Method.DHCP6),
    ],
)
def test_network_data_automatic_network_has_no_address(kind: str, method: Method) -> None:
    """Nova tells the address of some of these; the network itself will give it."""
    network = only_network(type=kind, ip_address="2001:db8::17", netmask="64", routes=[])
    assert network == NicNetwork(method=method)


def test_network_data_routes_are_read() -> None:
    """Default, subnet and on-link routes; bad ones are told and left out."""
    data = network_data(
        {
            "type": "ipv4",
            "ip_address": "192.0.2.17/24",
            "routes": [
                {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"},
                {"network": "198.51.100.7/24", "gateway": "192.0.2.2"},
                {"network": "203.0.113.0", "netmask": "255.255.255.0", "gateway": "0.0.0.0"},
                {"network": "203.0.113.0", "netmask": "255.255.255.0", "gateway": "::1"},
                {"network": "::", "netmask": "::", "gateway": "fe80::1"},
                {"gateway": "192.0.2.1"},
                7,
            ],
        }
    )
    assert data.nics[0].networks[0].routes == (
        Route(destination=ip_network("0.0.0.0/0"), gateway=ip_address("192.0.2.1")),
        Route(destination=ip_network("198.51.100.0/24"), gateway=ip_address("192.0.2.2")),
        Route(destination=ip_network("203.0.113.0/24")),
    )
    assert len(data.problems) == 4
    assert all("'network0' routes[" in problem for problem in data.problems)


def test_network_data_dns_is_read_from_networks_and_document() -> None:
    """Services of another type are ignored, bad addresses told."""
    services = [
        {"type": "dns", "address": "192.0.2.53"},
        {"type": "ntp", "address": "x"},
        {"type": "dns", "address": "x"},
    ]
    document = {
        "links": [{"id": "t", "type": "phy", "ethernet_mac_address": "FA:16:3E:00:00:01"}],
        "networks": [{"type": "ipv4_dhcp", "link": "t", "services": services}],
        "services": services,
    }
    data = network.network_data(as_bytes(document))
    assert data.dns == data.nics[0].networks[0].dns == (ip_address("192.0.2.53"),)
    assert len(data.problems) == 2


@pytest.mark.parametrize("kind", ["bond", "vlan"])
def test_network_data_bonds_and_vlans_are_skipped_alone(kind: str) -> None:
    """One clear problem names the link; the plain port beside it is configured."""
    document = {
        "links": [
            {"id": "special", "type": kind, "ethernet_mac_address": "fa:16:3e:00:00:02"},
            {"id": "plain", "type": "tap", "ethernet_mac_address": "fa:16:3e:00:00:01"},
        ],
        "networks": [
            {"type": "ipv4_dhcp", "link": "special"},
            {"type": "ipv4_dhcp", "link": "plain"},
        ],
    }
    data = network.network_data(as_bytes(document))
    assert [nic.mac for nic in data.nics] == ["fa:16:3e:00:00:01"]
    [problem] = data.problems
    assert "special" in problem
    assert "not supported" in problem


@pytest.mark.parametrize(
    ("mtu", "kept"), [(68, 68), (65535, 65535), (None, None), (67, None), ("1500", None)]
)
def test_network_data_mtu_out_of_range_is_told_and_dropped(mtu: object, kept: int | None) -> None:
    """The NIC is configured without it; an absent one is no problem."""
    data = network_data({"type": "ipv4_dhcp"}, mtu=mtu)
    assert data.nics[0].mtu == kept
    assert bool(data.problems) == (kept != mtu)


@pytest.mark.parametrize(
    "mac", ["", None, "fa:16:3e:00:00", "fa-16-3e-00-00-01", "fa:16:3e:00:00:0g"]
)
def test_network_data_link_without_mac_is_a_problem(mac: object) -> None:
    """The link and its network are both told of."""
    data = network_data({"type": "ipv4_dhcp"}, ethernet_mac_address=mac)
    assert data.nics == ()
    assert "ethernet_mac_address" in data.problems[0]
    assert "tap0" in data.problems[1]


def test_network_data_second_link_with_one_mac_is_a_problem() -> None:
    """Two files for one NIC would fight; the first link wins."""
    link = {"type": "ovs", "ethernet_mac_address": "fa:16:3e:00:00:01"}
    document = {
        "links": [{"id": "a"} | link, {"id": "b"} | link],
        "networks": [{"type": "ipv4_dhcp", "link": "a"}],
    }
    data = network.network_data(as_bytes(document))
    assert len(data.nics) == 1
    assert "twice" in data.problems[0]


def test_network_data_link_without_network_is_left_alone() -> None:
    """There is nothing to configure, so the NIC stays unmanaged."""
    assert network_data() == NetworkData()
