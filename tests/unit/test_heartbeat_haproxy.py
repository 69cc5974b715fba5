# SPDX-License-Identifier: Apache-2.0
"""What a haproxy says, as a heartbeat reports it."""

from dataclasses import replace

import pytest

from amphora_agent.heartbeat import haproxy
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.heartbeat.observation import Listener, Pool, Traffic
from amphora_agent.showstat import Backend, Frontend, Server, Snapshot, Worker
from tests.support.heartbeat_samples import (
    LB_ID,
    LISTENER,
    MEMBER,
    POOL,
    message_of,
    observation,
    observed,
)


@pytest.mark.parametrize(
    ("status", "weight", "reported"),
    [
        ("UP", 0, "DRAIN"),
        ("UP", 1, "UP"),
        ("UP 1/3", 0, "UP 1/3"),
        ("UP 1/3", 5, "UP 1/3"),
        ("DOWN", 0, "DOWN"),
        ("DOWN 1/2", 1, "DOWN 1/2"),
        ("no check", 0, "no check"),
        ("DRAIN", 1, "DRAIN"),
        ("DRAIN (agent)", 1, "DRAIN"),
        ("MAINT", 1, "MAINT"),
        ("MAINT (resolution)", 1, "MAINT"),
    ],
)
def test_member_status_is_a_word_of_the_controller(status: str, weight: int, reported: str) -> None:
    """Only exactly UP with weight 0 turns into DRAIN, and reasons in parentheses go."""
    server = Server(name=f"{MEMBER}01", status=status, weight=weight)
    backend = Backend(name=f"{POOL}1:{LISTENER}1", status="UP", servers=(server,))
    worker = Worker(pid=1, started_s=1)
    look = haproxy.haproxy_observation(
        LB_ID, Snapshot(worker=worker, frontends=(), backends=(backend,))
    )
    assert look.pools == {
        backend.name: Pool(
            pool_id=f"{POOL}1",
            listener_id=f"{LISTENER}1",
            status="UP",
            members={f"{MEMBER}01": reported},
        )
    }


@pytest.mark.parametrize(
    "name",
    [
        "prometheus-exporter-internal-endpoint",
        "stats",
        "",
        f"{LISTENER}1x",
        f"{LISTENER}1\n",
        f"{LISTENER}",
        f"prometheus{LISTENER}1",
        f"{POOL}1:{LISTENER}1",
    ],
)
def test_name_that_is_no_uuid_is_no_listener(name: str) -> None:
    """A frontend of any other name is not reported; one with a UUID is."""
    frontend = Frontend(
        name=name,
        status="OPEN",
        sessions=0,
        bytes_in=0,
        bytes_out=0,
        request_errors=0,
        sessions_total=0,
    )
    frontends = (frontend, replace(frontend, name=f"{LISTENER}1"))
    look = haproxy.haproxy_observation(
        LB_ID,
        Snapshot(worker=Worker(pid=1, started_s=1), frontends=frontends, backends=()),
    )
    assert list(look.listeners) == [f"{LISTENER}1"]


def test_backend_and_server_of_other_names_are_not_reported() -> None:
    """Only `<uuid>:<uuid>` is a pool and only a UUID a member."""
    good = Server(name=f"{MEMBER}01", status="UP", weight=1)
    servers = (good, good._replace(name="prometheus-internal"))
    backends = tuple(
        Backend(name=name, status="UP", servers=servers)
        for name in (f"{POOL}1:{LISTENER}1", f"{POOL}1", "x:y", "prometheus-exporter-internal")
    )
    look = haproxy.haproxy_observation(
        LB_ID,
        Snapshot(worker=Worker(pid=1, started_s=1), frontends=(), backends=backends),
    )
    assert {name: list(pool.members) for name, pool in look.pools.items()} == {
        f"{POOL}1:{LISTENER}1": [good.name]
    }


@pytest.mark.parametrize(
    ("status", "is_reported"),
    [("OPEN", True), ("FULL", True), ("STOP", False), ("PAUSED", False), ("", False)],
)
def test_listener_that_accepts_nothing_is_not_reported(status: str, is_reported: bool) -> None:
    """Only OPEN and FULL count as served."""
    look = observation({f"{LISTENER}1": Traffic(bin=9)}, status=status)
    message = message_of(look, ledger=observed(Ledger(), look))
    assert bool(message["listeners"]) is is_reported


def test_haproxy_of_one_listener_names_its_pools_by_their_ids_alone() -> None:
    """With API 0.5, where the only listener's id is the load balancer's, a bare pool is its own."""
    frontend = Frontend(
        name=LB_ID,
        status="OPEN",
        sessions=0,
        bytes_in=0,
        bytes_out=0,
        request_errors=0,
        sessions_total=0,
    )
    backend = Backend(name=f"{POOL}1", status="UP", servers=())
    old = Snapshot(worker=Worker(pid=1, started_s=1), frontends=(frontend,), backends=(backend,))
    look = haproxy.haproxy_observation(LB_ID, old)
    assert (look.is_per_listener, list(look.pools)) == (True, [f"{POOL}1:{LB_ID}"])
    new = replace(old, frontends=(replace(frontend, name=f"{LISTENER}1"),))
    look = haproxy.haproxy_observation(LB_ID, new)
    assert (look.is_per_listener, list(look.pools)) == (False, [])


def test_old_workers_add_their_counters_and_connections() -> None:
    """What an old worker serves is added to its listener; a listener that is gone stays gone."""
    frontend = Frontend(
        name=f"{LISTENER}1",
        status="OPEN",
        sessions=2,
        bytes_in=10,
        bytes_out=0,
        request_errors=0,
        sessions_total=0,
    )
    current = Snapshot(worker=Worker(pid=2, started_s=9), frontends=(frontend,), backends=())
    old = Snapshot(
        worker=Worker(pid=1, started_s=5),
        frontends=(
            replace(frontend, status="STOP", sessions=3, bytes_in=7),
            replace(frontend, name=f"{LISTENER}2", status="STOP"),
        ),
        backends=(),
    )
    look = haproxy.haproxy_observation(LB_ID, current)
    both = haproxy.with_old_workers(look, [old], silent={"1@5", "3@7"})
    assert both.listeners == {f"{LISTENER}1": Listener(status="OPEN", connections=5)}
    assert {name: table[f"{LISTENER}1"].bin for name, table in both.counters.items()} == {
        "2@9": 10,
        "1@5": 7,
    }
    assert both.silent == {"3@7"}


def test_workers_are_told_apart_by_their_process_ids() -> None:
    """Of the names in an account only those of the given processes are taken."""
    assert haproxy.names_of({"1@5", "11@5", "2@7", "odd"}, {1, 2}) == {"1@5", "2@7"}
