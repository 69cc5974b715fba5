# SPDX-License-Identifier: Apache-2.0
"""Requests into models."""

import contextlib
import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent import validate
from amphora_agent.errors import InvalidRequest, MalformedRequest

MAC = "fa:16:3e:00:00:01"


def body(**changes: Any) -> bytes:
    """What Octavia's driver sends, with changes; None as a change drops the key."""
    full = {
        "subnet_cidr": "203.0.113.0/24",
        "gateway": "203.0.113.1",
        "mac_address": MAC,
        "mtu": 1450,
        "vrrp_ip": "203.0.113.4",
        "host_routes": [{"destination": "198.51.100.0/24", "nexthop": "203.0.113.2"}],
        "additional_vips": [],
        "is_sriov": False,
    }
    return json.dumps({**full, **changes}).encode()


def test_plug_vip_is_read() -> None:
    """Every field of the driver's request ends up in the model."""
    plug = validate.plug_vip("203.0.113.9", body())
    (vip,) = plug.vips
    assert vip.address == ip_address("203.0.113.9")
    assert vip.subnet == ip_network("203.0.113.0/24")
    assert vip.gateway == ip_address("203.0.113.1")
    assert vip.host_routes[0].destination == ip_network("198.51.100.0/24")
    assert (plug.mac, plug.mtu, plug.vrrp_ip) == (MAC, 1450, ip_address("203.0.113.4"))


def test_plug_vip_reads_additional_vips() -> None:
    """Additional VIPs follow the primary one, each with its own subnet."""
    extra = {"ip_address": "2001:db8::9", "subnet_cidr": "2001:db8::/64", "gateway": "2001:db8::1"}
    plug = validate.plug_vip("203.0.113.9", body(additional_vips=[extra]))
    assert [vip.address.version for vip in plug.vips] == [4, 6]


def test_plug_vip_takes_a_subnet_without_gateway() -> None:
    """A null gateway is allowed; the key itself is required."""
    assert validate.plug_vip("203.0.113.9", body(gateway=None)).vips[0].gateway is None
    stripped = json.loads(body())
    del stripped["gateway"]
    with pytest.raises(MalformedRequest, match="gateway"):
        validate.plug_vip("203.0.113.9", json.dumps(stripped).encode())


def test_plug_vip_ignores_unknown_keys() -> None:
    """A key of a later controller does not hinder."""
    assert validate.plug_vip("203.0.113.9", body(later="x")).mac == MAC


@pytest.mark.parametrize(
    ("vip", "changes", "names"),
    [
        ("not-an-ip", {}, "ip_address"),
        ("203.0.113.9", {"subnet_cidr": "203.0.113.1/24"}, "subnet_cidr"),
        ("192.0.2.1", {}, "lacks it"),
        ("203.0.113.9", {"gateway": "nowhere"}, "gateway"),
        ("203.0.113.9", {"gateway": "fe80::1"}, "other IP version"),
        ("203.0.113.9", {"vrrp_ip": "192.0.2.7"}, "vrrp_ip"),
        ("203.0.113.9", {"vrrp_ip": "x"}, "vrrp_ip"),
        ("203.0.113.9", {"mac_address": "fa:16:3e:00:00"}, "mac_address"),
        ("203.0.113.9", {"mtu": 20}, "mtu"),
        (
            "203.0.113.9",
            {"host_routes": [{"destination": "::/0", "nexthop": "203.0.113.1"}]},
            "host_routes[0]",
        ),
        (
            "203.0.113.9",
            {"additional_vips": [{"ip_address": "192.0.2.1", "subnet_cidr": "192.0.2.0/33"}]},
            "additional_vips[0].subnet_cidr",
        ),
    ],
)
def test_plug_vip_bad_value_is_named(vip: str, changes: dict[str, Any], names: str) -> None:
    """A value that cannot be right is refused by the name of its field."""
    with pytest.raises(InvalidRequest) as caught:
        validate.plug_vip(vip, body(**changes))
    assert names in caught.value.details
    assert not isinstance(caught.value, MalformedRequest)


@given(st.binary(max_size=200))
def test_plug_vip_survives_any_bytes(raw: bytes) -> None:
    """Whatever a client sends, the answer is a model or a refusal."""
    with contextlib.suppress(InvalidRequest):
        validate.plug_vip("203.0.113.9", raw)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(
    st.text(max_size=40),
    st.dictionaries(st.sampled_from(sorted(json.loads(body()))), _JSON, max_size=4),
)
def test_plug_vip_survives_any_values(vip: str, changes: dict[str, Any]) -> None:
    """Whatever stands in a known field, the answer is a model or a refusal."""
    with contextlib.suppress(InvalidRequest):
        validate.plug_vip(vip, body(**changes))


# --- networks of members, firewall rules, configuration files ----------------------------------


def network_body(**changes: Any) -> bytes:
    """What Octavia's driver sends, with changes."""
    full = {
        "mac_address": MAC.upper(),
        "fixed_ips": [
            {"ip_address": "192.0.2.4", "subnet_cidr": "192.0.2.0/24", "host_routes": []},
        ],
        "mtu": 1450,
    }
    return json.dumps({**full, **changes}).encode()


def test_plug_network_is_read() -> None:
    """Addresses get the prefix length of their subnet; the MAC is in lower case."""
    plug = validate.plug_network(network_body())
    assert plug.fixed_ips is not None
    assert [str(fixed_ip.interface) for fixed_ip in plug.fixed_ips] == ["192.0.2.4/24"]
    assert (plug.mac, plug.mtu, plug.vip) == (MAC, 1450, None)


def test_plug_network_reads_the_vip_of_the_same_port() -> None:
    """The VIP's data are those of a VIP plug, with the VIP among them."""
    info = {**json.loads(body()), "vip": "203.0.113.9"}
    plug = validate.plug_network(network_body(vip_net_info=info))
    assert plug.vip == validate.plug_vip("203.0.113.9", body())


def test_plug_network_tells_no_list_from_an_empty_one() -> None:
    """Null and absent mean DHCP, an empty list means no address."""
    stripped = json.loads(network_body())
    del stripped["fixed_ips"]
    assert validate.plug_network(json.dumps(stripped).encode()).fixed_ips is None
    assert validate.plug_network(network_body(fixed_ips=None)).fixed_ips is None
    assert validate.plug_network(network_body(fixed_ips=[])).fixed_ips == ()


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"mac_address": "x"}, "mac_address"),
        ({"mtu": 3}, "mtu"),
        ({"fixed_ips": [{"ip_address": "x", "subnet_cidr": "192.0.2.0/24"}]}, "fixed_ips[0]"),
        ({"fixed_ips": [{"ip_address": "192.0.2.1", "subnet_cidr": "::/0"}]}, "lacks"),
        (
            {
                "fixed_ips": [
                    {"ip_address": "192.0.2.1", "subnet_cidr": "192.0.2.0/24", "gateway": "::1"}
                ]
            },
            "fixed_ips[0].gateway",
        ),
        (
            {
                "vip_net_info": {
                    **json.loads(body(mac_address="fa:16:3e:00:00:77")),
                    "vip": "203.0.113.9",
                }
            },
            "vip_net_info.mac_address",
        ),
    ],
)
def test_plug_network_bad_value_is_named(changes: dict[str, Any], names: str) -> None:
    """A value that cannot be right is refused by the name of its field."""
    with pytest.raises(InvalidRequest) as caught:
        validate.plug_network(network_body(**changes))
    assert names in caught.value.details


@given(st.binary(max_size=200))
def test_requests_survive_any_bytes(raw: bytes) -> None:
    """Whatever a client sends, the answer is a model or a refusal."""
    for read in (validate.plug_network, validate.firewall_rules, validate.interface_plug):
        with contextlib.suppress(InvalidRequest):
            read(raw)


def test_requests_survive_endless_nesting() -> None:
    """A body of brackets only is refused like any other, in fields that nobody reads too."""
    deep = b'{"x":' + b"[" * 100_000
    for read in (validate.plug_network, validate.firewall_rules, validate.interface_plug):
        with pytest.raises(MalformedRequest):
            read(deep)


def test_firewall_rules_are_read() -> None:
    """Host bits of a network are cut off, and null stands for anywhere."""
    raw = b'[{"protocol":"SCTP","cidr":"192.0.2.9/24","port":1},' + (
        b'{"protocol":"vrrp","cidr":null,"port":112}]'
    )
    first, second = validate.firewall_rules(raw)
    assert (first.protocol, first.cidr, first.port) == ("SCTP", ip_network("192.0.2.0/24"), 1)
    assert (second.protocol, second.cidr) == ("vrrp", None)
    assert validate.firewall_rules(b"[]") == ()


@pytest.mark.parametrize("bad", [b"caf\xe9", b"a\0b"])
def test_utf8_refuses_what_is_no_text(bad: bytes) -> None:
    """Other encodings and NULs are refused by the name of the file; UTF-8 is taken as it is."""
    assert validate.utf8("é\r\n".encode(), "a.cfg") == "é\r\n"
    with pytest.raises(InvalidRequest, match=r"a\.cfg"):
        validate.utf8(bad, "a.cfg")
