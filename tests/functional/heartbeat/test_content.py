# SPDX-License-Identifier: Apache-2.0
"""What is in a heartbeat of the real sender, with the real haproxy, judged by Octavia's own code.

All traffic stays on loopback. Time is counted in heartbeats and in the sender's own reports to
systemd (its notify socket), never by a clock.
"""

import os
import socket
from contextlib import ExitStack
from typing import Any

from tests.support import waiting
from tests.support.heartbeat_haproxy import StartHaproxy, hung
from tests.support.heartbeat_lab import (
    AMPHORA_ID,
    DEADLINE_S,
    LB,
    MEMBER,
    Amphora,
    Opener,
)
from tests.support.heartbeats import Listener


def test_heartbeat_without_listeners_is_accepted_by_octavia(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """An amphora that serves nothing sends version 3 with empty listeners, counted from 0."""
    listener, entry = manager
    amphora.configure([entry])
    amphora.start()
    first, second = listener.wait_for(2, deadline_s=DEADLINE_S)[:2]
    empty = {"id": AMPHORA_ID, "ver": 3, "listeners": {}, "pools": {}}
    assert octavia.message(first.payload) == {**empty, "seq": 0}
    assert octavia.message(second.payload) == {**empty, "seq": 1}


def test_heartbeat_with_another_key_is_refused_by_octavia(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """The same datagram is opened with the right key and refused with a wrong one."""
    listener, entry = manager
    amphora.configure([entry])
    amphora.start()
    datagram = listener.next(deadline_s=DEADLINE_S).payload
    assert octavia.message(datagram)["id"] == AMPHORA_ID
    assert octavia.answer(datagram, "another key") == {"error": "InvalidHMACException"}


def test_listener_pool_and_members_are_reported_as_they_are(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """One listener, its pool, three members in their states; the exporter's frontend is missing."""
    listener, entry = manager
    amphora.configure([entry])
    with socket.create_server(("127.0.0.1", 0)) as member, ExitStack() as stack:
        address = f"127.0.0.1:{member.getsockname()[1]}"
        haproxy = start_haproxy(
            1,
            f"    server {MEMBER}01 {address} weight 1\n"
            f"    server {MEMBER}02 {address} weight 0 check\n"
            f"    server {MEMBER}03 {address} weight 1 disabled\n",
        )
        stack.enter_context(socket.create_connection(("127.0.0.1", haproxy.port)))
        amphora.start()

        def connected() -> Any:
            message = octavia.message(listener.next(deadline_s=DEADLINE_S).payload)
            found = message["listeners"][haproxy.listener]["stats"]["conns"]
            return message if found >= 1 else None

        message = waiting.until("a connection", connected, deadline_s=DEADLINE_S, every_s=0)
    assert list(message["listeners"]) == [haproxy.listener]
    assert message["listeners"][haproxy.listener]["status"] == "OPEN"
    assert message["pools"] == {
        haproxy.pool: {
            "status": "UP",
            "members": {
                f"{MEMBER}01": "no check",
                f"{MEMBER}02": "DRAIN",
                f"{MEMBER}03": "MAINT",
            },
        }
    }


def test_hung_haproxy_holds_up_neither_heartbeats_nor_other_load_balancers(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """A stopped worker is not reported, its neighbour is, and it comes back when it answers."""
    listener, entry = manager
    stopped, fine = start_haproxy(1), start_haproxy(2)
    worker = stopped.await_worker()
    amphora.configure([entry], interval="0.4")
    with hung(worker):
        amphora.start()
        amphora.await_journal(f"load balancer {stopped.lb_id} is not reported")
        last = octavia.message(listener.next(deadline_s=DEADLINE_S).payload)
        assert list(last["listeners"]) == [fine.listener]
    amphora.await_journal(f"load balancer {stopped.lb_id} is reported again")
    last = octavia.message(listener.next(deadline_s=DEADLINE_S).payload)
    assert sorted(last["listeners"]) == [stopped.listener, fine.listener]


def test_stopped_load_balancer_is_not_reported_and_stops_nothing(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """A configuration whose haproxy does not run gives a heartbeat without its listeners."""
    listener, entry = manager
    (amphora.base / f"{LB}1").mkdir()
    (amphora.base / f"{LB}1" / "haproxy.cfg").write_text("global\n")
    amphora.configure([entry])
    amphora.start()
    assert octavia.message(listener.next(deadline_s=DEADLINE_S).payload)["listeners"] == {}
    amphora.beats(3)
    assert amphora.journal().count(f"load balancer {LB}1 is not reported") == 1


def test_heartbeat_too_large_for_a_datagram_keeps_its_listeners(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """With 8,000 members the members are left out, said once, and the listener is reported."""
    listener, entry = manager
    servers = (
        f"    server {os.urandom(4).hex()}-0000-4000-8000-{os.urandom(6).hex()}"
        " 127.0.0.1:9 disabled\n"
        for _ in range(8000)
    )
    haproxy = start_haproxy(1, "".join(servers))
    amphora.configure([entry], interval="1")
    amphora.start()
    message = octavia.message(listener.next(deadline_s=DEADLINE_S).payload)
    assert list(message["listeners"]) == [haproxy.listener]
    assert message["pools"] == {haproxy.pool: {"status": "DOWN", "members": {}}}
    amphora.beats(2)
    assert amphora.journal().count("too large for one datagram") == 1
