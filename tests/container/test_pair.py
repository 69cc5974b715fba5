# SPDX-License-Identifier: Apache-2.0
"""Two amphorae as an active and a standby one: the active one loses its power, and comes back.

Both run what Octavia's driver sends, with the timers that it sends.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import lab, waiting
from tests.support.balancer import Listener, LoadBalancer, Member, Pool
from tests.support.guest import Plan
from tests.support.http_member import fetch, http_member
from tests.support.octavia_driver import Octavia, OctaviaError
from tests.support.pair import DEADLINE_S, Half, Pair, pair
from tests.support.yard import Yard


@pytest.fixture
def both(plan: Plan, yard: Yard, tmp_path: Path) -> Iterator[Pair]:
    """A pair with one HTTP listener and one member."""
    address = plan.networks.add_member_address(41)
    pool = Pool(members=(Member(address=address, port=80),))
    balancer = LoadBalancer(
        vip=lab.VIP[9], amphora=plan.amphora, listeners=(Listener(port=80, pool=pool),)
    )
    with (
        http_member(plan.networks.namespace, "member", address),
        pair(yard, plan, balancer, tmp_path) as booted,
    ):
        yield booted


def answer(half: Half) -> str:
    """What a client gets that asks the VIP."""
    try:
        return fetch(half.plan.networks.namespace, half.balancer.vip, 80).text
    except OSError as exc:
        return str(exc)


def await_service(half: Half) -> None:
    """Wait until the member answers through the VIP."""
    last = ""

    def probe() -> bool | None:
        nonlocal last
        last = answer(half)
        return last == "member" or None

    try:
        waiting.until("the member at the VIP", probe, deadline_s=DEADLINE_S, every_s=0.1)
    except waiting.DeadlinePassedError as exc:
        raise AssertionError(f"{exc}; the last answer was {last}") from exc


def test_standby_takes_over_and_the_dead_one_comes_back_as_standby(
    both: Pair, controller: Octavia
) -> None:
    """The standby serves once the active one is dead, and goes on when that one has booted again.

    Who is active is what GET interface says on either, as a controller asks for it, all along. From
    the power cut on the controller calls nobody to change anything.
    """
    active, standby = both.await_roles()
    await_service(active)
    vip = active.balancer.vip
    assert controller.interface(active.plan.amphora, vip) == "eth1"
    with pytest.raises(OctaviaError):
        controller.interface(standby.plan.amphora, vip)
    active.run("sync")
    before = len(controller.exchanges())
    both.kill(active)
    waiting.until(
        "the standby to take over",
        lambda: standby.status() == 200 or None,
        deadline_s=DEADLINE_S,
        every_s=0.1,
    )
    await_service(standby)
    both.boot(active)
    assert both.await_roles() == (standby, active)
    assert (standby.status(), active.status()) == (200, 404)
    assert answer(standby) == "member"
    assert controller.exchanges()[before:] == []
    assert_order(active)
    # It has all that it needs: now the other one dies.
    both.kill(standby)
    waiting.until(
        "the first one to be active again",
        lambda: active.status() == 200 or None,
        deadline_s=DEADLINE_S,
        every_s=0.1,
    )
    await_service(active)
    assert controller.exchanges()[before:] == []


def assert_order(half: Half) -> None:
    """See that haproxy was ready before VRRP began to look at it."""
    assert half.container is not None
    haproxy = half.container.monotonic_us(f"haproxy@{half.balancer.id}", "ActiveEnter")
    keepalived = half.container.monotonic_us("octavia-keepalived", "InactiveExit")
    assert 0 < haproxy <= keepalived
