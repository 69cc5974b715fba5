# SPDX-License-Identifier: Apache-2.0
"""A day of changes by Octavia's own driver: how many of them reload haproxy.

Upstream's agent reloads for every one.
"""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.functional.conftest import LOOPBACK
from tests.functional.test_agent_octavia import VIP_PORT, Story, story
from tests.support import hitless
from tests.support.balancer import HealthMonitor, Listener, LoadBalancer, Member, Pool, Rejection

pytestmark = pytest.mark.slow

SEED = 7
CHANGES = 200
LISTENERS = 10

__all__ = ["story"]


class Day:
    """Random changes of the listeners of one load balancer."""

    def __init__(self, story: Story, dice: random.Random) -> None:
        self._story = story
        self._dice = dice
        self._port = 8100
        self.listeners = [self._listener(number) for number in range(LISTENERS)]

    def balancer(self) -> LoadBalancer:
        """As it is now."""
        return self._story.with_listeners(*self.listeners)

    def change(self) -> str:
        """Make one; what kind it was."""
        kinds: dict[Callable[[Listener], Listener], int] = {
            self._weight: 40,
            self._add: 15,
            self._remove: 15,
            self._enabled: 10,
            self._certificate: 12,
            self._policy: 8,
        }
        kind = self._dice.choices(list(kinds), list(kinds.values()))[0]
        number = self._dice.randrange(LISTENERS)
        if kind == self._certificate:
            # Every second listener terminates TLS.
            number |= 1
        changed = kind(self.listeners[number])
        if changed == self.listeners[number]:
            return self.change()
        self.listeners[number] = changed
        return kind.__name__.strip("_")

    def _listener(self, number: int) -> Listener:
        monitor = HealthMonitor(type="TCP") if number % 3 == 0 else None
        pool = Pool(members=tuple(self._member() for _ in range(3)), monitor=monitor)
        if number % 2 == 0:
            return Listener(port=8000 + number, pool=pool)
        return Listener(
            port=8000 + number,
            pool=pool,
            protocol="TERMINATED_HTTPS",
            certificates=(self._story.store_certificate(), self._story.store_certificate()),
        )

    def _member(self) -> Member:
        self._port += 1
        return Member(address=LOOPBACK, port=self._port, weight=self._dice.randint(1, 9))

    def _one(self, listener: Listener, **changes: object) -> Listener:
        members = list(listener.pool.members)
        index = self._dice.randrange(len(members))
        members[index] = replace(members[index], **changes)  # type: ignore[arg-type]
        return replace(listener, pool=replace(listener.pool, members=tuple(members)))

    def _weight(self, listener: Listener) -> Listener:
        return self._one(listener, weight=self._dice.choice((0, 1, 10, 100)))

    def _enabled(self, listener: Listener) -> Listener:
        return self._one(listener, enabled=self._dice.random() < 0.5)

    def _add(self, listener: Listener) -> Listener:
        members = (*listener.pool.members, self._member())
        return replace(listener, pool=replace(listener.pool, members=members))

    def _remove(self, listener: Listener) -> Listener:
        members = list(listener.pool.members)
        if len(members) > 1:
            members.pop(self._dice.randrange(len(members)))
        return replace(listener, pool=replace(listener.pool, members=tuple(members)))

    def _certificate(self, listener: Listener) -> Listener:
        certificates = list(listener.certificates)
        certificates[self._dice.randrange(len(certificates))] = self._story.store_certificate()
        return replace(listener, certificates=tuple(certificates))

    def _policy(self, listener: Listener) -> Listener:
        if listener.policies:
            return replace(listener, policies=())
        prefix = f"/private{self._dice.randrange(100)}"
        return replace(listener, policies=(Rejection(prefix=prefix),))


def test_octavia_day_reloads_for_policies_only(story: Story) -> None:
    """Of a day's member, weight and certificate changes none reloads; each policy change does."""
    story.controller.post_vip_plug(story.balancer, VIP_PORT).result(timeout=60)
    day = Day(story, random.Random(SEED))
    story.controller.update(day.balancer())
    base, lb_id = story.agent.base, str(story.balancer.id)
    counts: dict[str, int] = {}
    reloads: dict[str, int] = {}
    pid = hitless.worker_pid(base, lb_id)
    for _ in range(CHANGES):
        kind = day.change()
        story.controller.update(day.balancer())
        now = hitless.worker_pid(base, lb_id)
        counts[kind] = counts.get(kind, 0) + 1
        reloads[kind] = reloads.get(kind, 0) + (now != pid)
        pid = now
    print(f"changes {counts}, reloads {reloads}")
    assert sum(counts.values()) == CHANGES
    assert reloads == {kind: count if kind == "policy" else 0 for kind, count in counts.items()}
    for listener in day.listeners:
        story.controller.delete(day.balancer(), listener.id)
        day.listeners = [other for other in day.listeners if other != listener]
