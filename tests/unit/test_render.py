# SPDX-License-Identifier: Apache-2.0
"""Texts for other programs."""

import dataclasses
import json
from ipaddress import ip_address, ip_network

import pytest

from amphora_agent import plan, render, validate
from amphora_agent.models import HostRoute, NetworkPlug, Topology
from tests.unit.test_plan import GATEWAY, NETWORK_PLUG, PLUG


@pytest.mark.parametrize(
    ("amphora_id", "name"),
    [
        ("00000000-0000-4000-8000-000000000001", "Mp7E9EPp3XUxn3cIFsXB7jN-ITQ"),
        ("00000000-0000-0000-0000-000000000064", "xC19DVJPYsH2CtfDhTe91ykairA"),
    ],
)
def test_peer_name_is_the_controllers(amphora_id: str, name: str) -> None:
    """The peer name equals what the controller writes into the peers section."""
    assert render.peer_name(amphora_id) == name


def test_haproxy_environment_names_the_peer() -> None:
    """The unit's variable file holds the peer name and nothing else."""
    text = render.haproxy_environment("00000000-0000-4000-8000-000000000001")
    assert text == "HAPROXY_PEER=Mp7E9EPp3XUxn3cIFsXB7jN-ITQ\n"


def test_interface_json_keeps_everything() -> None:
    """The interface file holds addresses with ownership, routes with table, and rules."""
    desired = plan.vip_interface(PLUG, Topology.SINGLE)
    request = dataclasses.replace(NETWORK_PLUG, mac=PLUG.mac, vip=PLUG)
    document = json.loads(render.interface_json(desired, request))
    assert document["name"] == "eth1"
    assert {"address": "203.0.113.9", "prefixlen": 32, "octavia_owned": True} in document[
        "addresses"
    ]
    assert {
        "dst": "0.0.0.0/0",
        "table": 1,
        "gateway": "203.0.113.1",
        "flags": ["onlink"],
    } in document["routes"]
    assert document["rules"] == [{"src": "203.0.113.9", "src_len": 32, "table": 1}]


def full_request() -> NetworkPlug:
    """A plug with everything in it that there can be."""
    routes = (HostRoute(destination=ip_network("198.51.100.0/24"), nexthop=GATEWAY),)
    first = dataclasses.replace(PLUG.vips[0], host_routes=routes)
    second = dataclasses.replace(
        first,
        address=ip_address("2001:db8::9"),
        subnet=ip_network("2001:db8::/64"),
        gateway=None,
        host_routes=(),
    )
    vip = dataclasses.replace(PLUG, vips=(first, second), is_sriov=True)
    return dataclasses.replace(NETWORK_PLUG, mac=PLUG.mac, vip=vip)


@pytest.mark.parametrize(
    "request_",
    [
        NETWORK_PLUG,
        dataclasses.replace(NETWORK_PLUG, fixed_ips=None, mtu=None),
        dataclasses.replace(NETWORK_PLUG, fixed_ips=()),
        full_request(),
    ],
)
def test_interface_json_remembers_what_was_asked_for(request_: NetworkPlug) -> None:
    """A request that was stored in an interface file is read back as it was."""
    desired = plan.network_interface(request_, "eth2")
    assert validate.interface_plug(render.interface_json(desired, request_)) == request_
