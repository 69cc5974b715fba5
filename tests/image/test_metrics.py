# SPDX-License-Identifier: Apache-2.0
"""Metrics of an amphora with a UDP listener, scraped through its VIP: the image has IPVS."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.image.test_network_story import (
    STEP_DEADLINE_S,
    balancer,
    guest,
    members,
    test_vip_is_plugged,
    udp_answers,
)
from tests.support import balancer as description
from tests.support.balancer import LoadBalancer
from tests.support.guest import Guest
from tests.support.http_member import fetch
from tests.support.octavia_driver import Octavia
from tests.support.waiting import until

__all__ = ["balancer", "guest", "members", "test_vip_is_plugged"]

pytestmark = pytest.mark.usefixtures("guest", "members")

METRICS_PORT = 9100
# Longer than the kernel's period (ip_vs_est.c), also on a machine whose clock runs late.
_ADDED_UP_S = 3.0


def scraped(guest: Guest, balancer: LoadBalancer) -> dict[tuple[str, str], float] | None:
    """Values by name and by the label that names the owner, of metrics with no other label."""
    answer = fetch(guest.plan.networks.namespace, balancer.vip, METRICS_PORT, "/metrics")
    if answer.status == 504:
        return None
    return {
        (sample.name, next(reversed(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if not {"state", "code"} & sample.labels.keys()
    }


def test_udp_listener_has_metrics(
    guest: Guest, controller: Octavia, balancer: LoadBalancer
) -> None:
    """Datagrams of clients count for listener and pool; the weights are those of the members."""
    [http, udp, _sctp] = balancer.listeners
    metrics = description.Listener(port=METRICS_PORT, protocol="PROMETHEUS")
    controller.update(replace(balancer, listeners=(http, udp, metrics)))
    until(
        "answers of both members",
        lambda: udp_answers(guest, balancer) == {"one", "two"} or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )

    # haproxy waits 5 s for the program, and the program 1 s for the kernel: an emulated machine may
    # take longer.
    def complete() -> dict[tuple[str, str], float] | None:
        found = scraped(guest, balancer)
        return (
            found if found and ("octavia_listener_sessions_total", str(udp.id)) in found else None
        )

    def scrape() -> dict[tuple[str, str], float]:
        return until("a scrape", complete, deadline_s=STEP_DEADLINE_S, every_s=0.5)

    pool = f"{udp.pool.id}:{udp.id}"
    keys = [
        ((f"octavia_{owner}_{suffix}", name), grown)
        for owner, name in (("listener", str(udp.id)), ("pool", pool))
        for suffix, grown in (("sessions_total", 4), ("bytes_in_total", 124))
    ]

    def settled() -> dict[tuple[str, str], float]:
        """A scrape after which nothing more is counted: the kernel adds up every two seconds."""
        last: dict[tuple[str, str], float] = {}

        def same() -> dict[tuple[str, str], float] | None:
            nonlocal last
            found, before = scrape(), last
            last = found
            return found if all(found[key] == before.get(key) for key, _ in keys) else None

        return until("all to be counted", same, deadline_s=STEP_DEADLINE_S, every_s=_ADDED_UP_S)

    before = settled()
    assert udp_answers(guest, balancer) == {"one", "two"}
    after = settled()
    for key, grown in keys:
        assert after[key] - before[key] == grown
    for suffix, grown in (("sessions_total", 4), ("bytes_in_total", 124), ("bytes_out_total", 124)):
        ours = [(f"octavia_member_{suffix}", str(member.id)) for member in udp.pool.members]
        assert sum(after[key] - before[key] for key in ours) == grown
        assert all(after[key] > before[key] for key in ours)
    for member in udp.pool.members:
        assert after["octavia_member_weight", str(member.id)] == member.weight
    # haproxy's own stand beside.
    assert ("octavia_listener_bytes_in_total", str(http.id)) in after
