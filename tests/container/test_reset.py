# SPDX-License-Identifier: Apache-2.0
"""An amphora that loses its power comes back as it was, in the right order, by itself."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.conftest import VIP_MAC
from tests.support import lab, waiting
from tests.support.balancer import Listener, LoadBalancer, Member, Pool, VipPort
from tests.support.container import Container
from tests.support.guest import Plan
from tests.support.http_member import fetch, http_member
from tests.support.octavia_driver import Octavia
from tests.support.yard import Yard

_DEADLINE_S = 60
# A container has no disk of its own that could grow or be mounted again.
NEED_A_DISK = {"amphora-grow.service", "systemd-remount-fs.service"}


@pytest.fixture
def balancer(plan: Plan) -> Iterator[LoadBalancer]:
    """One HTTP listener with two members."""
    inside = plan.networks.namespace
    one, two = plan.networks.add_member_address(31), plan.networks.add_member_address(32)
    pool = Pool(members=(Member(address=one, port=80), Member(address=two, port=80)))
    with http_member(inside, "one", one), http_member(inside, "two", two):
        yield LoadBalancer(
            vip=lab.VIP[6], amphora=plan.amphora, listeners=(Listener(port=80, pool=pool),)
        )


def answers(plan: Plan, balancer: LoadBalancer) -> list[str] | None:
    """Who answered each of four requests through the VIP; None while nobody does."""
    try:
        inside = plan.networks.namespace
        return sorted(fetch(inside, balancer.vip, 80).text for _ in range(4))
    except OSError:
        return None


def assert_order(amphora: Container, haproxy: str) -> None:
    """See that the namespace with its NICs, and rsyslog, were there before haproxy started."""
    said = amphora.run("journalctl --boot --unit amphora-netns --output json").splitlines()
    [restored] = [
        int(entry["__MONOTONIC_TIMESTAMP"])
        for entry in map(json.loads, said)
        if entry["MESSAGE"] == "eth1 is up"
    ]
    began = amphora.monotonic_us("amphora-netns", "InactiveExit")
    ready = amphora.monotonic_us("amphora-netns", "ActiveEnter")
    started = amphora.monotonic_us(haproxy, "InactiveExit")
    assert 0 < began <= restored <= ready <= started
    assert 0 < amphora.monotonic_us("rsyslog", "ActiveEnter") <= started


def test_traffic_returns_after_a_power_cut(
    plan: Plan, yard: Yard, controller: Octavia, balancer: LoadBalancer, tmp_path: Path
) -> None:
    """NICs, addresses and haproxy are back without a call; haproxy came after what it needs."""
    inside = plan.networks.namespace
    port = VipPort(mac=VIP_MAC, subnet=lab.VIP, gateway=plan.networks.gateway, mtu=lab.MTU)

    def attach_vip_nic() -> None:
        inside.add_nic("vip0", mac=VIP_MAC, mtu=lab.MTU, bridge=lab.VIP_BRIDGE)

    with yard.boot(plan, tmp_path) as amphora:
        attach_vip_nic()
        amphora.plug(inside, "vip0")
        controller.post_vip_plug(balancer, port).result(timeout=_DEADLINE_S)
        controller.update(balancer)
        assert answers(plan, balancer) == ["one", "one", "two", "two"]
        amphora.run("sync")
        amphora.kill()
    before = len(controller.exchanges())
    attach_vip_nic()
    with yard.boot(plan, tmp_path, nics=["vip0"]) as amphora:
        waiting.until(
            "traffic through the VIP",
            lambda: answers(plan, balancer) == ["one", "one", "two", "two"] or None,
            deadline_s=_DEADLINE_S,
            every_s=0.2,
        )
        assert controller.exchanges()[before:] == []
        assert_order(amphora, f"haproxy@{balancer.id}")
        failed = amphora.run("systemctl --failed --plain --no-legend").split()
        assert {unit for unit in failed if unit.endswith(".service")} <= NEED_A_DISK
