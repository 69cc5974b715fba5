# SPDX-License-Identifier: Apache-2.0
"""Documents as haproxy.cfg: what goes beyond Octavia, and is not there unasked."""

import pytest

from tests.support.haproxy_rows import (
    BACKEND,
    FRONTEND,
    GLOBAL,
    TLS,
    Part,
    balancer,
    beginning,
    options,
    sections,
    tls,
)


def test_nothing_beyond_octavia_is_there_unasked() -> None:
    """A document without such parts has no line of theirs."""
    lines = [line for body in sections(balancer(listener=TLS)).values() for line in body]
    for word in ("stick-table", "compression", "tcp-request", "mworker", "hard-stop", "queue"):
        assert not [line for line in lines if word in line]


def test_allowed_networks_are_many_lines_of_one_acl() -> None:
    """Who is in none of the networks is refused, however many there are."""
    networks = [f"198.51.{number}.0/24" for number in range(120)]
    found = sections(balancer(listener={"allowed_cidrs": networks}))[FRONTEND]
    listed = beginning(found, "acl allowed src ")
    assert [network for line in listed for network in line.split()[3:]] == networks
    # More words haproxy does not read.
    assert max(len(line.split()) for line in listed) <= 64
    assert beginning(found, "tcp-request") == ["tcp-request connection reject unless allowed"]


@pytest.mark.parametrize(
    ("limit", "stored", "rules"),
    [
        (
            {"connections": 5},
            "conn_cur",
            ["tcp-request session reject if { sc0_conn_cur gt 5 }"],
        ),
        (
            {"connections_per_10s": 6, "requests_per_10s": 7},
            "conn_rate(10s),http_req_rate(10s)",
            [
                "tcp-request session reject if { sc0_conn_rate gt 6 }",
                "http-request deny deny_status 429 if { sc0_http_req_rate gt 7 }",
            ],
        ),
    ],
)
def test_clients_are_counted(limit: Part, stored: str, rules: list[str]) -> None:
    """Only what is limited is stored, and tracked before it is compared."""
    found = sections(balancer(listener={"rate_limit": limit}))[FRONTEND]
    assert beginning(found, "stick-table", "tcp-request", "http-request") == [
        f"stick-table type ipv6 size 100000 expire 10s store {stored}",
        "tcp-request session track-sc0 src",
        *rules,
    ]


@pytest.mark.parametrize(
    ("part", "head", "expected"),
    [
        (balancer(tuning={"max_old_workers": 3}), GLOBAL, ["mworker-max-reloads 3"]),
        (balancer(tuning={"hard_stop_after_s": 60}), GLOBAL, ["hard-stop-after 60s"]),
        (balancer(pool={"queue_timeout_ms": 9}), BACKEND, ["timeout queue 9"]),
        (balancer(listener={"accept_proxy": True}), FRONTEND, ["bind 192.0.2.10:80 accept-proxy"]),
        (
            balancer(listener={"compression": True}),
            FRONTEND,
            [
                "compression algo gzip",
                "compression type text/html text/plain text/css text/javascript text/xml "
                "application/javascript application/json application/xml image/svg+xml",
            ],
        ),
    ],
)
def test_part_beyond_octavia_is_there_when_asked(
    part: Part, head: tuple[str, ...], expected: list[str]
) -> None:
    """Each part is these lines, which a document without it has not."""
    plain = sections(balancer())[head]
    assert [line for line in sections(part)[head] if line not in plain] == expected


@pytest.mark.parametrize(
    ("profile", "switches"),
    [
        ("modern", "no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12"),
        ("intermediate", "no-sslv3 no-tlsv10 no-tlsv11"),
    ],
)
def test_profile_sets_versions_ciphers_and_alpn(profile: str, switches: str) -> None:
    """The modern profile has suites of TLS 1.3 alone; what is given goes before the profile."""
    words = options(balancer(listener=tls(profile=profile)), "bind")
    assert words.endswith(f"{switches} alpn h2,http/1.1")
    assert ("ciphers " in words) == (profile == "intermediate")
    assert "ciphersuites TLS_AES_128_GCM_SHA256:" in words
    given = options(balancer(listener=tls(profile=profile, alpn=["http/1.1"])), "bind")
    assert given.endswith(f"{switches} alpn http/1.1")
