# SPDX-License-Identifier: Apache-2.0
"""Endpoints of API 1.0 about the network, and the notes on routing.

The numbers are those of the rows in the wire contract's endpoint table.
"""

from typing import Any

import pytest

from tests.conformance import samples
from tests.conformance.checks import failed, framework, ok
from tests.conformance.samples import action
from tests.conformance.target import LB, Nic, Target


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"subnet_cidr":"198.51.100.0/24"}']
)
def test_1_5_row_12_malformed_vip_plug(target: Target, body: bytes) -> None:
    """A body that is not the object it should be is 400 in the framework's shape."""
    answer = target.ask("POST", "/1.0/plug/vip/198.51.100.9", body)
    framework(answer, 400, "Invalid subnet information")


@pytest.mark.parametrize(
    ("vip", "changes", "message"),
    [
        ("198.51.100.300", {}, "Invalid VIP: 198.51.100.300"),
        ("198.51.100.9", {"subnet_cidr": "198.51.100.9/24"}, "Invalid VIP: "),
        ("198.51.100.9", {"subnet_cidr": "nonsense"}, "Invalid VIP: "),
        ("198.51.100.9", {"gateway": "nonsense"}, "Invalid VIP: "),
        ("198.51.100.9", {"vrrp_ip": "nonsense"}, "Invalid VRRP Address: nonsense"),
        ("198.51.100.9", {"additional_vips": [{"ip_address": "x"}]}, None),
    ],
)
def test_1_5_row_12_vip_plug_with_wrong_values(
    target: Target, vip: str, changes: dict[str, Any], message: str | None
) -> None:
    """An address or a subnet that cannot be right is 400 and is named."""
    body = samples.vip_plug(**changes)
    answer = target.ask_json("POST", f"/1.0/plug/vip/{vip}", body)
    assert answer.status == 400, answer
    if message is not None:
        assert failed(answer, 400)["message"].startswith(message)


def test_1_5_row_12_missing_nic_is_told_so_that_it_is_asked_again(target: Target) -> None:
    """A NIC that is not there yet is 404 JSON with the phrase that controllers look for."""
    answer = samples.plug_vip(target)
    assert samples.RETRY_PHRASE in failed(answer, 404)["details"]


def test_1_5_row_12_vip_is_plugged_and_then_there_already(target: Target, plugged: Nic) -> None:
    """The second plug is 409 in the agent's shape."""
    answer = samples.plug_vip(target, plugged)
    failed(answer, 409, "Interface already exists")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b'{"fixed_ips":[]}'])
def test_1_5_row_13_malformed_network_plug(target: Target, body: bytes) -> None:
    """A body that is not the object it should be is 400 in the framework's shape."""
    answer = target.ask("POST", "/1.0/plug/network", body)
    framework(answer, 400, "Invalid port information")


@pytest.mark.parametrize("changed", [{"ip_address": "nonsense"}, {"subnet_cidr": "nonsense"}])
def test_1_5_row_13_network_plug_with_wrong_values(target: Target, changed: dict[str, str]) -> None:
    """An address or a subnet that cannot be right is 400."""
    body = samples.network_plug()
    body["fixed_ips"][0].update(changed)
    failed(target.ask_json("POST", "/1.0/plug/network", body), 400, "Invalid network port")


@pytest.mark.parametrize("fixed_ips", [None, []])
def test_1_5_row_13_missing_nic_is_told_so_that_it_is_asked_again(
    target: Target, fixed_ips: list[Any] | None
) -> None:
    """A NIC that is not there yet is 404 JSON with the phrase, with and without addresses."""
    for answer in (samples.plug_network(target), samples.plug_network(target, fixed_ips=fixed_ips)):
        assert samples.RETRY_PHRASE in failed(answer, 404)["details"]


def test_1_5_row_13_network_is_plugged_any_number_of_times(target: Target) -> None:
    """A NIC with its addresses is plugged, and again, with 202 and never 409."""
    if target.member_nic is None:
        pytest.skip("this target has no NIC for members")
    for _ in range(2):
        ok(samples.plug_network(target, target.member_nic), 202)
    answer = target.ask("GET", f"/1.0/interface/{target.member_nic.address(5)}")
    assert answer.json() == {"message": "OK", "interface": "eth2"}


def test_1_5_row_20_interface_of_an_address(target: Target, plugged: Nic) -> None:
    """The interface of the base address and of the VIP is eth1."""
    for host in (4, 9):
        answer = target.ask("GET", f"/1.0/interface/{plugged.address(host)}")
        assert (answer.status, answer.json()) == (200, {"message": "OK", "interface": "eth1"})


def test_1_5_row_20_address_that_is_none_is_refused(target: Target) -> None:
    """Text that is no address is 400, an address that nobody has is 404."""
    for text in ("nonsense", "198.51.100.300", "198.51.100.0%2F24"):
        answer = target.ask("GET", f"/1.0/interface/{text}")
        assert answer.status in ({404} if "%2F" in text else {400}), answer
    failed(target.ask("GET", "/1.0/interface/nonsense"), 400, "Invalid IP address")
    missing = "Error interface not found for IP address"
    for address in ("192.0.2.77", "2001:db8::77", "2001:DB8:0:0::77"):
        failed(target.ask("GET", f"/1.0/interface/{address}"), 404, missing)


def test_1_5_row_21_rules_are_taken(target: Target, plugged: Nic) -> None:
    """The complete list, the empty list, and both again are 200."""
    path = f"/1.0/interface/{plugged.address(4)}/rules"
    for content in (samples.rules(), samples.rules(), [], []):
        ok(target.ask_json("PUT", path, content), 200)


@pytest.mark.parametrize(
    "content",
    [
        {},
        "x",
        None,
        [1],
        [{"protocol": "TCP", "cidr": None}],
        [{"protocol": "tcp", "cidr": None, "port": 80}],
        [{"protocol": "VRRP", "cidr": None, "port": 80}],
        [{"protocol": "TCP", "cidr": None, "port": 0}],
        [{"protocol": "TCP", "cidr": None, "port": 65536}],
        [{"protocol": "TCP", "cidr": None, "port": "80"}],
        [{"protocol": "TCP", "cidr": None, "port": 80, "more": 1}],
        [{"protocol": "TCP", "cidr": 5, "port": 80}],
    ],
)
def test_1_5_row_21_malformed_rules(target: Target, plugged: Nic, content: object) -> None:
    """Anything but a list of complete rules is 400 in the framework's shape."""
    path = f"/1.0/interface/{plugged.address(4)}/rules"
    framework(target.ask_json("PUT", path, content), 400, "Invalid rules information")


def test_1_5_row_21_rules_for_an_address_of_nobody(target: Target) -> None:
    """Text that is no address is 400, an address that nobody has is 404."""
    answer = target.ask_json("PUT", "/1.0/interface/nonsense/rules", [])
    failed(answer, 400, "Invalid IP address")
    answer = target.ask_json("PUT", "/1.0/interface/192.0.2.77/rules", [])
    failed(answer, 404, "Error interface not found for IP address")


@pytest.mark.usefixtures("plugged")
def test_1_5_routing_vrrp_upload_is_not_an_action(target: Target) -> None:
    """PUT vrrp/upload wins over PUT vrrp/{action}."""
    ok(target.ask("PUT", "/1.0/vrrp/upload", samples.VRRP), 200)


def test_1_5_routing_upload_without_amphora_is_an_unknown_action(target: Target) -> None:
    """PUT loadbalancer/{lb}/haproxy is no upload but the unknown action `haproxy`."""
    answer = target.ask("PUT", action("haproxy"), target.config())
    assert failed(answer, 400)["details"] == "Unknown action: haproxy"


def test_1_5_routing_get_of_a_listener_is_not_allowed(target: Target) -> None:
    """GET listeners/{id} is 405 in the framework's shape."""
    framework(target.ask("GET", f"/1.0/listeners/{LB}"), 405)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/1.0/plug/vip/2001:db8::9", 404),
        ("GET", "/1.0/interface/2001:db8::9", 404),
        ("PUT", "/1.0/interface/2001:db8::9/rules", 404),
    ],
)
def test_1_5_routing_ipv6_addresses_are_unescaped(
    target: Target, method: str, path: str, status: int
) -> None:
    """IPv6 addresses stand in paths with bare colons, and are understood."""
    body: object = []
    if method == "POST":
        body = samples.vip_plug(
            subnet_cidr="2001:db8::/64", gateway="2001:db8::1", vrrp_ip="2001:db8::4"
        )
    failed(target.ask_json(method, path, body), status)
