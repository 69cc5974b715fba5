# SPDX-License-Identifier: Apache-2.0
"""Network data as files of systemd-networkd; whole trees stand in tests/golden/provision."""

import json
import re

from hypothesis import given

from amphora_agent import networkd
from amphora_agent.configdrive.network import NetworkData, network_data
from amphora_agent.errors import ParseError
from tests.unit.configdrive.documents import JSON, LINKED, UNHURRIED

NETWORKS: dict[str, dict[str, object]] = {
    "static4": {"type": "ipv4", "ip_address": "192.0.2.17", "netmask": "255.255.255.0"},
    "static6": {"type": "ipv6", "ip_address": "2001:db8::17", "netmask": "64"},
    "dhcp4": {"type": "ipv4_dhcp"},
    "dhcp6": {"type": "ipv6_dhcpv6-stateful"},
    "slaac": {"type": "ipv6_slaac"},
    "gateway6": {
        "type": "ipv6_slaac",
        "routes": [
            {"network": "::", "netmask": "::", "gateway": "fe80::1"},
            {"network": "2001:db8:1::", "netmask": "48", "gateway": "2001:db8::1"},
        ],
    },
    "host": {
        "type": "ipv4",
        "ip_address": "192.0.2.17/32",
        "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "169.254.1.1"}],
    },
}


def data(*nics: tuple[str, ...], mtu: int | None = 1442) -> NetworkData:
    """NICs with the networks above."""
    document = {
        "links": [
            {
                "id": f"{i}",
                "type": "ovs",
                "ethernet_mac_address": f"fa:16:3e:00:00:0{i}",
                "mtu": mtu,
            }
            for i, _ in enumerate(nics)
        ],
        "networks": [
            NETWORKS[name] | {"id": name, "link": f"{i}"}
            for i, names in enumerate(nics)
            for name in names
        ],
    }
    parsed = network_data(json.dumps(document).encode())
    assert parsed.problems == ()
    return parsed


def only_file(*networks: str, mtu: int | None = 1442) -> list[str]:
    """The lines of the file for a machine with one NIC."""
    [text] = networkd.network_files(data(networks, mtu=mtu)).values()
    return text.splitlines()


def test_static_network_asks_nobody_for_anything() -> None:
    """No DHCP, no router advertisements, no link-local address, no route."""
    lines = only_file("static4")
    assert {"DHCP=no", "IPv6AcceptRA=no", "LinkLocalAddressing=no"} < set(lines)
    assert "Address=192.0.2.17/24" in lines
    assert "[Route]" not in lines


def test_static_ipv6_network_has_a_link_local_address() -> None:
    """Neighbour discovery needs one; routers still have nothing to say."""
    assert {"LinkLocalAddressing=ipv6", "IPv6AcceptRA=no"} < set(only_file("static4", "static6"))


def test_dhcp_line_follows_the_networks() -> None:
    """One, the other or both protocols, and no other server's names."""
    assert "DHCP=ipv4" in only_file("dhcp4")
    assert "DHCP=ipv6" in only_file("dhcp6", "static4")
    assert "DHCP=yes" in only_file("dhcp4", "dhcp6")
    assert only_file("dhcp4", "dhcp6").count("UseDNS=no") == 3


def test_lease_outlives_its_server() -> None:
    """A leased address is kept; where nothing is leased, stale configuration goes."""
    assert "KeepConfiguration=dhcp" in only_file("dhcp4", "static6")
    assert "KeepConfiguration=no" in only_file("static4")


def test_mtu_comes_from_the_data_or_from_dhcp() -> None:
    """A known MTU is set and cannot be changed by a server; an unknown one is asked for."""
    assert {"MTUBytes=1442", "UseMTU=no"} < set(only_file("dhcp4"))
    unknown = only_file("dhcp4", mtu=None)
    assert "UseMTU=yes" in unknown
    assert not any(line.startswith("MTUBytes") for line in unknown)


def test_router_announces_the_default_route_of_an_automatic_network() -> None:
    """Only the other routes are added by hand."""
    lines = only_file("gateway6")
    assert "Destination=2001:db8:1::/48" in lines
    assert "Destination=::/0" not in lines


def test_gateway_outside_every_subnet_is_on_the_link() -> None:
    """A /32 address reaches its gateway all the same."""
    assert {"Gateway=169.254.1.1", "GatewayOnLink=yes"} < set(only_file("host"))


def test_boot_waits_for_the_first_nic_alone() -> None:
    """The management port comes first, and its routes win."""
    first, second = networkd.network_files(data(("dhcp4",), ("dhcp4",))).values()
    assert "RequiredForOnline=routable" in first
    assert "RouteMetric=100" in first
    assert "RequiredForOnline=no" in second
    assert "RouteMetric=200" in second


def test_nic_of_the_namespace_has_no_file() -> None:
    """A NIC that was hot-plugged and moved is left to the namespace."""
    files = networkd.network_files(data(("dhcp4",), ("static4",)), {"fa:16:3e:00:00:01"})
    assert list(files) == ["10-amphora-fa163e000000.network"]


@UNHURRIED
@given(JSON | LINKED)
def test_file_holds_only_known_lines(document: object) -> None:
    """No text of the data can become a line of its own or a comment."""
    try:
        parsed = network_data(json.dumps(document).encode())
    except ParseError:
        return
    known = re.compile(r"|\[[A-Za-z0-9]+\]|[A-Za-z0-9]+=[A-Za-z0-9.:/]+")
    for name, text in networkd.network_files(parsed).items():
        assert re.fullmatch(r"10-amphora-[0-9a-f]{12}\.network", name)
        lines = text.split("\n")
        assert lines[0].startswith("# ")
        assert [line for line in lines[1:] if not known.fullmatch(line)] == []
