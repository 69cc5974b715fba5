# SPDX-License-Identifier: Apache-2.0
"""Documents as haproxy.cfg: global and defaults, peers, the exporter, and what is left out."""

import pytest

from amphora_agent import render
from tests.support.haproxy_rows import (
    BACKEND,
    DEFAULTS,
    FRONTEND,
    GLOBAL,
    LB,
    ONE,
    OTHER,
    TLS,
    TWO,
    Part,
    balancer,
    beginning,
    exporter,
    pair,
    sections,
)


def test_global_section_is_that_of_every_amphora() -> None:
    """Without anything special there are these lines and no others, and no group."""
    assert sections(balancer())[GLOBAL] == [
        "daemon",
        "user nobody",
        "log /run/rsyslog/octavia/log local0",
        "log /run/rsyslog/octavia/log local1 notice",
        f"stats socket /var/lib/octavia/{LB}.sock mode 0666 level user",
        f"server-state-file /var/lib/octavia/{LB}/servers-state",
        "maxconn 50000",
    ]


def test_logs_go_to_the_facilities_of_the_host() -> None:
    """Users' and administrators' logs have a facility each."""
    found = sections(balancer(), user_facility=3, admin_facility=4)[GLOBAL]
    assert beginning(found, "log ") == [
        "log /run/rsyslog/octavia/log local3",
        "log /run/rsyslog/octavia/log local4 notice",
    ]


def with_others(*others: Part) -> Part:
    """The load balancer with more listeners on ports of their own, the first one limited to 10."""
    part = balancer(listener={"connection_limit": 10})
    for number, other in enumerate(others):
        listener = {"id": f"{OTHER[:-1]}{11 + number:x}", "protocol": "TCP", "port": 100 + number}
        part["listeners"].append(listener | other)
    return part


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], 10),
        ([{"connection_limit": 5}], 15),
        ([{"connection_limit": -1}], 50_010),
        ([{"connection_limit": 5, "enabled": False}], 10),
        ([{"connection_limit": 5, "protocol": "UDP"}], 10),
        ([{"connection_limit": 999_990}], 1_000_000),
        ([{"connection_limit": 1_000_000}, {"connection_limit": 1_000_000}], 1_000_000),
    ],
)
def test_limit_is_the_sum_over_what_haproxy_serves(others: list[Part], expected: int) -> None:
    """Listeners that are off, or served by keepalived, do not count; a million is the most."""
    assert f"maxconn {expected}" in sections(with_others(*others))[GLOBAL]


@pytest.mark.parametrize(
    ("listener", "memory_kb", "expected"),
    [
        # 32 kB for each of 10 connections; two fifths of the rest, four sessions in each kB.
        (TLS, 100_320, ["tune.ssl.cachesize 160000"]),
        (TLS, 12_823, ["tune.ssl.cachesize 20004"]),
        (TLS, 12_820, []),
        ({}, 100_320, []),
    ],
)
def test_tls_sessions_get_a_share_of_memory(
    listener: Part, memory_kb: int, expected: list[str]
) -> None:
    """The cache is sized where TLS is terminated and over 5,000 kB are left for it."""
    part = balancer(listener=listener | {"connection_limit": 10})
    assert beginning(sections(part, memory_kb=memory_kb)[GLOBAL], "tune.") == expected


@pytest.mark.parametrize(
    ("processors", "is_tuned", "expected"),
    [
        (4, True, ["nbthread 3", "cpu-map auto:1/1-3 1-3"]),
        (2, True, ["nbthread 1", "cpu-map auto:1/1-1 1-1"]),
        (1, True, []),
        (4, False, []),
    ],
)
def test_threads_are_pinned_where_processors_are_kept_free(
    processors: int, is_tuned: bool, expected: list[str]
) -> None:
    """With the profile of tuned haproxy has all processors but the first."""
    found = sections(balancer(), processors=processors, is_tuned=is_tuned)[GLOBAL]
    assert beginning(found, "nbthread", "cpu-map") == expected


@pytest.mark.parametrize(
    ("monitor", "listener", "allowed"),
    [
        ({"type": "PING"}, {}, True),
        ({"type": "PING", "enabled": False}, {}, False),
        ({"type": "PING"}, {"enabled": False}, False),
        ({"type": "TCP"}, {}, False),
    ],
)
def test_programs_may_check_where_members_are_pinged(
    monitor: Part, listener: Part, allowed: bool
) -> None:
    """Only a monitor by ping that is on lets haproxy start programs."""
    part = balancer(listener=listener, pool={"health_monitor": monitor})
    found = beginning(sections(part)[GLOBAL], "external-check", "insecure-fork-wanted")
    assert found == (["external-check", "insecure-fork-wanted"] if allowed else [])


@pytest.mark.parametrize(("logs", "line"), [(True, "log global"), (False, "no log")])
def test_defaults_log_unless_told_not_to(logs: bool, line: str) -> None:
    """The switch of logging changes the first line of defaults and takes the format away."""
    found = sections(balancer(tuning={"connection_logging": logs}))
    assert found[DEFAULTS] == [
        line,
        "retries 3",
        "option redispatch",
        "option splice-request",
        "option splice-response",
        "option http-keep-alive",
    ]
    assert len(beginning(found[FRONTEND], "log-format")) == logs


def test_amphorae_of_a_pair_are_peers() -> None:
    """Each has its name and port 1025; an amphora alone has no peers."""
    head = ("peers", f"{LB.replace('-', '')}_peers")
    assert sections(pair())[head] == [
        f"peer {render.peer_name(ONE)} 192.0.2.11:1025",
        f"peer {render.peer_name(TWO)} 192.0.2.12:1025",
    ]
    assert head not in sections(balancer())


def test_exporter_stands_behind_a_listener_of_its_own() -> None:
    """A PROMETHEUS listener leads to the exporter, which serves nothing but metrics."""
    found = sections(exporter())
    assert found["frontend", "prometheus-exporter-internal-endpoint"] == [
        "bind 127.0.0.1:9101",
        "mode http",
        "no log",
        "http-request use-service prometheus-exporter if { path /metrics }",
        "http-request reject",
        "timeout http-request 5s",
        "timeout client 5s",
    ]
    assert found["backend", "prometheus-exporter-internal"] == [
        "mode http",
        "no log",
        "balance first",
        "timeout connect 5s",
        "timeout server 5s",
        "server prometheus-internal 127.0.0.1:9102",
    ]
    assert "default_backend prometheus-exporter-internal" in found[FRONTEND]
    assert not any("prometheus" in word for head in sections(balancer()) for word in head)


@pytest.mark.parametrize(
    ("part", "served"),
    [
        (balancer(), [FRONTEND, BACKEND]),
        (balancer(enabled=False), []),
        (balancer(listener={"enabled": False}), []),
        (balancer(pool={"enabled": False}), [FRONTEND]),
        (balancer(listener={"default_pool": None}), [FRONTEND]),
        (balancer(listener={"protocol": "UDP"}, pool={"protocol": "UDP"}), []),
    ],
)
def test_what_is_off_is_left_out(part: Part, served: list[tuple[str, ...]]) -> None:
    """A balancer, listener or pool that is off has no section, and nothing leads to it."""
    found = sections(part)
    assert list(found) == [GLOBAL, DEFAULTS, *served]
    if FRONTEND in served:
        leads = beginning(found[FRONTEND], "default_backend")
        assert leads == ([f"default_backend {BACKEND[1]}"] if BACKEND in served else [])
