# SPDX-License-Identifier: Apache-2.0
"""API 2.0 on the image: a document is served by the units of its own systemd."""

import json
import re
import tarfile
from collections.abc import Iterator
from io import BytesIO
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.container.conftest import VIP_MAC
from tests.support import lab
from tests.support.balancer import LoadBalancer, VipPort
from tests.support.container import Container
from tests.support.documents import LB_ID
from tests.support.guest import Plan
from tests.support.http_member import fetch, http_member
from tests.support.mutual_tls import Answer, Client
from tests.support.octavia_driver import Octavia
from tests.support.yard import Yard

_DEADLINE_S = 60
_PATH = f"/2.0/loadbalancers/{LB_ID}"
_JSON = {"Content-Type": "application/json"}
_PORT = 80


@pytest.fixture(scope="module")
def amphora(
    plan: Plan, yard: Yard, controller: Octavia, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """An amphora whose VIP was plugged by the driver."""
    with yard.boot(plan, tmp_path_factory.mktemp("api-2")) as booted:
        plan.networks.namespace.add_nic("vip0", mac=VIP_MAC, mtu=lab.MTU, bridge=lab.VIP_BRIDGE)
        booted.plug(plan.networks.namespace, "vip0")
        port = VipPort(mac=VIP_MAC, subnet=lab.VIP, gateway=plan.networks.gateway, mtu=lab.MTU)
        balancer = LoadBalancer(vip=lab.VIP[8], amphora=plan.amphora, listeners=())
        controller.post_vip_plug(balancer, port).result(timeout=_DEADLINE_S)
        yield booted


@pytest.fixture(scope="module")
def members(plan: Plan) -> Iterator[tuple[IPv4Address, IPv4Address]]:
    """Two that answer with their names."""
    inside = plan.networks.namespace
    with (
        plan.networks.member_address(51) as one,
        plan.networks.member_address(52) as two,
        http_member(inside, "one", one),
        http_member(inside, "two", two),
    ):
        yield one, two


def document(*members: IPv4Address) -> dict[str, Any]:
    """A load balancer with one HTTP listener."""
    pool = "00000000-0000-4000-8000-0000000000b1"
    return {
        "id": LB_ID,
        "vip": {"address": str(lab.VIP[8]), "subnet": str(lab.VIP)},
        "listeners": [
            {
                "id": "00000000-0000-4000-8000-0000000000a1",
                "protocol": "HTTP",
                "port": _PORT,
                # Hosts may forbid a container the descriptors that the usual 50,000 need.
                "connection_limit": 1000,
                "default_pool": pool,
            }
        ],
        "pools": [
            {
                "id": pool,
                "protocol": "HTTP",
                "members": [
                    {
                        "id": f"00000000-0000-4000-8000-0000000000c{number}",
                        "address": str(address),
                        "port": 80,
                    }
                    for number, address in enumerate(members)
                ],
            }
        ],
    }


def test_document_is_served_changed_and_taken_back(
    amphora: Container, plan: Plan, members: tuple[IPv4Address, IPv4Address]
) -> None:
    """The unit of haproxy runs, a member more needs no reload, a roll-back and a delete hold."""
    client = plan.client(plan.pki.controller, timeout_s=_DEADLINE_S)

    def put(*addresses: IPv4Address) -> Answer:
        body = json.dumps(document(*addresses)).encode()
        return client.request("PUT", _PATH, body, headers=_JSON)

    def answering() -> set[str]:
        inside = plan.networks.namespace
        return {fetch(inside, lab.VIP[8], _PORT).text for _ in range(4)}

    made = put(members[0])
    assert made.status == 201, made.body
    unit = f"haproxy@{LB_ID}.service"
    assert amphora.run(f"systemctl is-active {unit}").strip() == "active"
    assert answering() == {"one"}

    assert put(*members).status == 200
    assert answering() == {"one", "two"}
    assert applies(client) == {"started": 1, "commands": 1}

    body = json.dumps({"revision": 1}).encode()
    assert client.request("POST", f"{_PATH}/rollback", body, headers=_JSON).status == 200
    assert answering() == {"one"}
    states = {part["name"]: part["state"] for part in health(client)["parts"]}
    judged = ("namespace", "interface", "haproxy", "certificate", "heartbeat", "logs")
    assert {states[name] for name in judged} == {"ok"}, health(client)

    assert client.request("DELETE", _PATH).status == 204
    assert "inactive" in amphora.run(f"systemctl show --property=ActiveState {unit}")


def test_support_bundle_has_the_journal_and_no_key(amphora: Container, plan: Plan) -> None:
    """Units and journal are in it; the key of heartbeats is not, though its file is."""
    client = plan.client(plan.pki.controller, timeout_s=_DEADLINE_S)
    answer = client.request("GET", "/2.0/support-bundle")
    assert answer.status == 200
    with tarfile.open(fileobj=BytesIO(answer.body)) as archive:
        texts = {
            member.name: stream.read()
            for member in archive.getmembers()
            if (stream := archive.extractfile(member)) is not None
        }
    key = amphora.run("sed -n 's/^heartbeat_key *= *//p' /etc/octavia/amphora-agent.conf").strip()
    assert key
    assert any(b"amphora-agent.service" in text for text in texts.values())
    assert not any(key.encode() in text for text in texts.values())


def applies(client: Client) -> dict[str, int]:
    """How often haproxy took a configuration over, by kind."""
    text = client.request("GET", "/2.0/metrics").body.decode()
    found = re.findall(r'^amphora_applies_total\{kind="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {kind: int(count) for kind, count in found}


def health(client: Client) -> dict[str, Any]:
    """How the amphora says that it is."""
    found: dict[str, Any] = json.loads(client.request("GET", "/2.0/health").body)
    return found
