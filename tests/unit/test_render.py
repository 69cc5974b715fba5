# SPDX-License-Identifier: Apache-2.0
"""Texts for other programs."""

import dataclasses
import json
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from amphora_agent import plan, render, validate
from amphora_agent.errors import InvalidRequest
from amphora_agent.models import HostRoute, NetworkPlug
from amphora_agent.topology import Topology
from tests.support import need
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


@pytest.mark.parametrize(
    ("sockets", "code"),
    [
        (None, "exit 1"),
        ([], "exec haproxy-vrrp-check"),
        (
            ["/x/a.sock", "/x y/b'c.sock"],
            """exec haproxy-vrrp-check /x/a.sock '/x y/b'"'"'c.sock'""",
        ),
    ],
)
def test_haproxy_check_script_asks_each_socket(sockets: list[str] | None, code: str) -> None:
    """Without a load balancer it fails, with some it asks each; a path is one word of the shell."""
    text = render.haproxy_check_script(sockets)
    assert [line for line in text.splitlines() if not line.startswith("#")] == [code]
    assert text.endswith("\n")


def test_check_script_with_a_line_break_is_refused() -> None:
    """A path that could begin a line of its own is none."""
    with pytest.raises(InvalidRequest, match="line break"):
        render.haproxy_check_script(["/x\nreboot"])


@pytest.mark.parametrize("directory", ["plain", "a b", "it's", "$(exit 9)", "`exit 9`", "*"])
def test_check_script_runs_a_directory_of_any_name(tmp_path: Path, directory: str) -> None:
    """The track script finds its parts wherever they lie; an empty directory is no failure."""
    parts = tmp_path / directory
    parts.mkdir()
    script = tmp_path / "check_script.sh"
    script.write_text(render.check_script(parts))
    for status in (0, 5):
        assert subprocess.run(["sh", str(script)], check=False, timeout=30).returncode == status
        (parts / "part.sh").write_text("exit 5\n")


@pytest.mark.parametrize(
    "script",
    [
        render.check_script(Path("/x y/z")),
        "#!/bin/sh\n" + render.haproxy_check_script(["/x/a.sock", "/x y/b'c.sock"]),
        "#!/bin/sh\n" + render.haproxy_check_script(None),
        "#!/bin/sh\n" + render.lvs_check_script(Path("/x y/z-")),
        render.udp_check(),
    ],
)
def test_scripts_pass_shellcheck(script: str) -> None:
    """shellcheck finds nothing in a rendered script."""
    need.programs("shellcheck")
    done = subprocess.run(
        ["shellcheck", "-"], input=script, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stdout


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
