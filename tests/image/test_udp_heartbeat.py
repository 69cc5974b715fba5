# SPDX-License-Identifier: Apache-2.0
"""Heartbeats of an amphora with a UDP listener, opened by Octavia's own code.

The image has what the host's kernel lacks: IPVS. One boot; the driver makes the listener.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from tests.image.conftest import HEARTBEAT_KEY
from tests.image.test_network_story import (
    BOOT_DEADLINE_S,
    STEP_DEADLINE_S,
    Members,
    balancer,
    guest,
    members,
    test_vip_is_plugged,
    udp_answers,
)
from tests.support.balancer import LoadBalancer
from tests.support.guest import Guest
from tests.support.heartbeats import Listener
from tests.support.octavia_driver import Octavia
from tests.support.waiting import until

__all__ = ["balancer", "guest", "members", "test_vip_is_plugged"]

pytestmark = pytest.mark.usefixtures("guest", "health_manager")

# A datagram of the client and the answer, with their IPv4 and UDP headers.
_BYTES_IN, _BYTES_OUT = 28 + 3, 28 + 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Manager:
    """A health manager: what it heard, opened by Octavia, and added up as Octavia does."""

    heard: Listener
    controller: Octavia

    def next(self) -> dict[str, Any]:
        """Wait for the next heartbeat."""
        datagram = self.heard.next(deadline_s=STEP_DEADLINE_S)
        return self.controller.unwrap_envelope(datagram.payload, HEARTBEAT_KEY)

    def sums(self, listener_id: uuid.UUID) -> tuple[int, int, int]:
        """Bytes in, bytes out and sessions of a listener in all heartbeats so far."""
        entries = [
            self.controller.unwrap_envelope(item.payload, HEARTBEAT_KEY)["listeners"].get(
                str(listener_id)
            )
            for item in self.heard.received()
        ]
        stats = [entry["stats"] for entry in entries if entry]
        return (
            sum(row["rx"] for row in stats),
            sum(row["tx"] for row in stats),
            sum(row["totconns"] for row in stats),
        )


@pytest.fixture
def manager(health_manager: Listener, controller: Octavia) -> Manager:
    """The health manager of this story."""
    return Manager(heard=health_manager, controller=controller)


def test_all_listeners_are_reported(
    guest: Guest, controller: Octavia, balancer: LoadBalancer, manager: Manager
) -> None:
    """The heartbeat has the HTTP, UDP and SCTP listener, and the UDP pool by its own id."""
    [http, udp, sctp] = balancer.listeners
    controller.update(balancer)
    until(
        "answers of both members",
        lambda: udp_answers(guest, balancer) == {"one", "two"} or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )
    message = manager.next()
    assert sorted(message["listeners"]) == sorted(str(each.id) for each in (http, udp, sctp))
    assert message["listeners"][str(udp.id)]["status"] == "OPEN"
    assert message["pools"][str(udp.pool.id)] == {
        "status": "UP",
        "members": {str(member.id): "UP" for member in udp.pool.members},
    }


def test_reported_traffic_is_that_of_the_clients(
    guest: Guest, balancer: LoadBalancer, manager: Manager
) -> None:
    """Twelve more datagrams and their answers appear in the sums, byte for byte, and once."""
    [_http, udp, _sctp] = balancer.listeners
    manager.next()
    manager.next()
    before = manager.sums(udp.id)
    for _ in range(3):
        assert udp_answers(guest, balancer) == {"one", "two"}
    expected = (before[0] + 12 * _BYTES_IN, before[1] + 12 * _BYTES_OUT, before[2] + 12)
    until(
        "the traffic in heartbeats",
        lambda: manager.sums(udp.id) == expected or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )
    manager.next()
    manager.next()
    assert manager.sums(udp.id) == expected
    assert all(manager.next()["listeners"][str(udp.id)]["stats"][key] == 0 for key in ("rx", "tx"))


def test_dead_member_is_down(balancer: LoadBalancer, members: Members, manager: Manager) -> None:
    """The member whose port was closed is DOWN, the other one UP, and the listener is there."""
    [_http, udp, _sctp] = balancer.listeners
    [one, two] = udp.pool.members
    members.second.close()

    def down() -> dict[str, Any] | None:
        message = manager.next()
        statuses = message["pools"][str(udp.pool.id)]["members"]
        return message if statuses[str(two.id)] != "UP" else None

    message = until("the dead member", down, deadline_s=STEP_DEADLINE_S, every_s=0)
    assert message["pools"][str(udp.pool.id)] == {
        "status": "UP",
        "members": {str(one.id): "UP", str(two.id): "DOWN"},
    }
    assert len(message["listeners"]) == 3


def test_sender_says_how_it_goes(guest: Guest, manager: Manager) -> None:
    """Its status file names the listeners and members of the last heartbeat, and no failure."""
    guest.wait_for_shell(deadline_s=BOOT_DEADLINE_S)
    manager.next()
    status = json.loads(guest.shell.run("cat /run/amphora-heartbeat/status.json"))
    last = status["last"]
    assert (status["silence"], status["unreported"]) == ("", [])
    assert (last["listeners"], last["members"], last["message_version"]) == (3, 6, 3)
    [tally] = status["controllers"].values()
    assert (tally["failed"], tally["sent"] > 0) == (0, True)
    journal = guest.shell.run("journalctl --unit amphora-heartbeat --output cat --no-pager")
    assert "IPVS" not in journal
    assert "fault" not in journal
