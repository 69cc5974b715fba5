# SPDX-License-Identifier: Apache-2.0
"""Metrics of an amphora: who serves them is there when somebody scrapes, and only then."""

from collections.abc import Iterator

import pytest

from tests.container.conftest import VIP_MAC
from tests.support import lab
from tests.support.balancer import Listener, LoadBalancer, Member, Pool, VipPort
from tests.support.container import Container
from tests.support.guest import Plan
from tests.support.http_member import fetch
from tests.support.octavia_driver import Octavia
from tests.support.yard import Yard

_DEADLINE_S = 60
METRICS_PORT = 9100
SERVICE = "amphora-prometheus.service"
# Status of an answer to a scrape inside the namespace.
_ASK = """ip netns exec amphora-haproxy python3 -c '
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 9102, timeout=20)
connection.request("GET", "/metrics")
print(connection.getresponse().status)
'"""


@pytest.fixture(scope="module")
def amphora(
    plan: Plan, yard: Yard, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """An amphora with a NIC for the VIP."""
    with yard.boot(plan, tmp_path_factory.mktemp("prometheus")) as booted:
        plan.networks.namespace.add_nic("vip0", mac=VIP_MAC, mtu=lab.MTU, bridge=lab.VIP_BRIDGE)
        booted.plug(plan.networks.namespace, "vip0")
        yield booted


def state(amphora: Container, unit: str) -> str:
    return amphora.run(f"systemctl show --value --property=ActiveState {unit}").strip()


def test_scrape_starts_the_program(amphora: Container, plan: Plan, controller: Octavia) -> None:
    """Nothing runs until somebody scrapes through the VIP; ended, it comes back for the next."""
    inside = plan.networks.namespace
    balancer = LoadBalancer(
        vip=lab.VIP[7],
        amphora=plan.amphora,
        listeners=(
            Listener(port=80, pool=Pool(members=(Member(address=lab.VIP[40], port=80),))),
            Listener(port=METRICS_PORT, protocol="PROMETHEUS"),
        ),
    )
    port = VipPort(mac=VIP_MAC, subnet=lab.VIP, gateway=plan.networks.gateway, mtu=lab.MTU)
    controller.post_vip_plug(balancer, port).result(timeout=_DEADLINE_S)
    controller.update(balancer)
    assert state(amphora, SERVICE) == "inactive"
    for _ in range(2):
        answer = fetch(inside, balancer.vip, METRICS_PORT, "/metrics")
        assert answer.status == 200
        assert f'octavia_listener_status{{listener="{balancer.listeners[0].id}"' in answer.text
        assert "octavia_loadbalancer_memory " in answer.text
        assert state(amphora, SERVICE) == "active"
        # As when it ends by itself, because nobody has scraped for a while.
        amphora.run(f"kill $(systemctl show --value --property=MainPID {SERVICE})")
        amphora.run(f"systemctl stop {SERVICE}")
        assert state(amphora, "amphora-prometheus.socket") == "active"
    log = amphora.run(f"journalctl --no-pager --unit {SERVICE}")
    assert "Traceback" not in log
    assert "Started" not in log


def test_socket_is_in_the_namespace_and_in_a_new_one(amphora: Container) -> None:
    """The port is open in that namespace alone, and again in one that was made anew."""
    assert "9102" not in amphora.run("ss --listening --tcp --numeric")
    before = amphora.run("ls --inode /run/netns/amphora-haproxy")
    assert amphora.run(_ASK).strip() in {"200", "502"}

    amphora.run("systemctl stop amphora-netns && ip netns del amphora-haproxy")
    amphora.run("systemctl start amphora-netns amphora-prometheus.socket")

    assert amphora.run("ls --inode /run/netns/amphora-haproxy") != before
    # No haproxy is there yet.
    assert amphora.run(_ASK).strip() == "502"
    log = amphora.run(f"journalctl --no-pager --output=cat --unit {SERVICE}")
    assert "haproxy does not tell its metrics" in log
