# SPDX-License-Identifier: Apache-2.0
"""Documents as haproxy.cfg: pools, their monitors and members."""

import pytest

from tests.support.haproxy_rows import (
    BACKEND,
    CA,
    CERTS,
    LB,
    MEMBER,
    TLS,
    Part,
    balancer,
    beginning,
    options,
    pair,
    sections,
)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [("ROUND_ROBIN", "roundrobin"), ("LEAST_CONNECTIONS", "leastconn"), ("SOURCE_IP", "source")],
)
def test_pool_balances_as_asked(algorithm: str, expected: str) -> None:
    """Each algorithm has its name in haproxy."""
    assert f"balance {expected}" in sections(balancer(pool={"algorithm": algorithm}))[BACKEND]


@pytest.mark.parametrize(
    ("persistence", "table", "rules"),
    [
        ({"type": "SOURCE_IP"}, "stick-table type ipv6 size 10240", ["stick on src"]),
        (
            {"type": "APP_COOKIE", "cookie_name": "c"},
            "stick-table type string len 64 size 10240",
            ["stick store-response res.cook(c)", "stick match req.cook(c)"],
        ),
    ],
)
def test_sessions_persist_in_a_table(persistence: Part, table: str, rules: list[str]) -> None:
    """The amphorae of a pair share the table, and its size can be asked for."""
    pool = {"session_persistence": persistence}
    lines = ("stick",)
    assert beginning(sections(balancer(pool=pool))[BACKEND], *lines) == [table, *rules]
    shared = f"{table} peers {LB.replace('-', '')}_peers"
    assert beginning(sections(pair(pool=pool))[BACKEND], *lines) == [shared, *rules]
    smaller = sections(balancer(pool=pool, tuning={"stick_table_size": 7}))[BACKEND]
    assert beginning(smaller, *lines) == [table.replace("10240", "7"), *rules]


def test_sessions_persist_by_a_cookie_of_haproxys() -> None:
    """The pool inserts the cookie, and each member has its id in it."""
    part = balancer(pool={"session_persistence": {"type": "HTTP_COOKIE"}})
    assert "cookie SRV insert indirect nocache" in sections(part)[BACKEND]
    assert options(part) == f"weight 1 cookie {MEMBER}"


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("X-Forwarded-For", "option forwardfor"),
        ("X-Forwarded-Port", "http-request set-header X-Forwarded-Port %[dst_port]"),
        ("X-Forwarded-Proto", "http-request set-header X-Forwarded-Proto https"),
        ("X-SSL-Client-Verify", "http-request set-header X-SSL-Client-Verify %[ssl_c_verify]"),
        ("X-SSL-Client-Has-Cert", "http-request set-header X-SSL-Client-Has-Cert %[ssl_c_used]"),
        ("X-SSL-Client-DN", "http-request set-header X-SSL-Client-DN %{+Q}[ssl_c_s_dn]"),
        ("X-SSL-Client-CN", "http-request set-header X-SSL-Client-CN %{+Q}[ssl_c_s_dn(cn)]"),
        ("X-SSL-Issuer", "http-request set-header X-SSL-Issuer %{+Q}[ssl_c_i_dn]"),
        ("X-SSL-Client-SHA1", "http-request set-header X-SSL-Client-SHA1 %{+Q}[ssl_c_sha1,hex]"),
        (
            "X-SSL-Client-Not-Before",
            "http-request set-header X-SSL-Client-Not-Before %{+Q}[ssl_c_notbefore]",
        ),
        (
            "X-SSL-Client-Not-After",
            "http-request set-header X-SSL-Client-Not-After %{+Q}[ssl_c_notafter]",
        ),
    ],
)
def test_members_get_to_see_a_header(header: str, line: str) -> None:
    """A header is one line of the backend, and only the one that is asked for."""
    found = sections(balancer(listener=TLS | {"insert_headers": [header]}))[BACKEND]
    assert beginning(found, "option forwardfor", "http-request") == [line]


def test_members_hear_of_http_without_tls() -> None:
    """X-Forwarded-Proto is `http` where clients speak no TLS."""
    found = sections(balancer(listener={"insert_headers": ["X-Forwarded-Proto"]}))[BACKEND]
    assert "http-request set-header X-Forwarded-Proto http" in found


CHECK = "weight 1 check inter 9s fall 4 rise 2"


@pytest.mark.parametrize(
    ("monitor", "lines", "server"),
    [
        ({"type": "TCP"}, [], CHECK),
        ({"type": "TLS-HELLO"}, [], CHECK),
        (
            {"type": "PING"},
            [
                "option external-check",
                "external-check command /var/lib/octavia/ping-wrapper.sh",
            ],
            CHECK,
        ),
        (
            {"type": "HTTP"},
            ["option httpchk GET /", "http-check expect rstatus 200"],
            CHECK,
        ),
        (
            {
                "type": "HTTP",
                "http_method": "HEAD",
                "url_path": "/h?a=%20",
                "expected_codes": "200,203-205",
                "http_version": "1.1",
                "domain_name": "www.example.org",
            },
            [
                "option httpchk HEAD /h?a=%20 HTTP/1.1",
                "http-check send hdr Host www.example.org",
                "http-check expect rstatus 200|203|204|205",
            ],
            CHECK,
        ),
        (
            {"type": "HTTPS", "http_version": "1.0"},
            ["option httpchk GET / HTTP/1.0", "http-check expect rstatus 200"],
            "weight 1 check check-ssl verify none inter 9s fall 4 rise 2",
        ),
    ],
)
def test_members_are_checked(monitor: Part, lines: list[str], server: str) -> None:
    """A monitor is lines of the backend and words of each server."""
    pace = {"delay_s": 9, "timeout_s": 6, "fall_threshold": 4, "rise_threshold": 2}
    part = balancer(pool={"health_monitor": pace | monitor})
    keywords = ("load-server-state", "timeout check", "option httpchk", "http-check")
    found = beginning(sections(part)[BACKEND], *keywords, "option external", "external")
    assert found == ["load-server-state-from-file global", "timeout check 6s", *lines]
    assert options(part) == server


def test_members_are_not_checked_by_a_monitor_that_is_off() -> None:
    """Such a monitor leaves no trace."""
    off = balancer(pool={"health_monitor": {"type": "HTTP", "enabled": False}})
    assert sections(off) == sections(balancer())


@pytest.mark.parametrize(
    ("pool", "listener", "member", "expected"),
    [
        ({}, {}, {"weight": 0}, "weight 0"),
        ({}, {}, {"backup": True}, "weight 1 backup"),
        ({}, {}, {"enabled": False}, "weight 1 disabled"),
        ({"protocol": "PROXY"}, {}, {}, "weight 1 send-proxy"),
        ({"protocol": "PROXYV2"}, {}, {}, "weight 1 send-proxy-v2"),
        ({"protocol": "PROXYV2"}, TLS, {}, "weight 1 send-proxy-v2-ssl-cn"),
        (
            {"health_monitor": {"type": "TCP"}},
            {},
            {"monitor_address": "2001:db8::5", "monitor_port": 81},
            "weight 1 check inter 5s fall 3 rise 3 addr 2001:db8::5 port 81",
        ),
        # Beyond Octavia.
        ({}, {}, {"connection_limit": 5}, "weight 1 maxconn 5"),
        ({"queue_limit": 6, "slow_start_s": 7}, {}, {}, "weight 1 maxqueue 6 slowstart 7s"),
        (
            {"protocol": "PROXYV2", "proxy_v2_options": ["ssl", "unique-id"]},
            {},
            {},
            "weight 1 send-proxy-v2 proxy-v2-options ssl,unique-id",
        ),
    ],
)
def test_member_is_a_server(pool: Part, listener: Part, member: Part, expected: str) -> None:
    """What a member and its pool ask for are words of one line."""
    assert options(balancer(pool=pool, listener=listener, member=member)) == expected


SNI = "sni ssl_fc_sni"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, f"ssl verify none {SNI}"),
        ({"certificate": "one"}, f"ssl crt {CERTS}/one.pem verify none {SNI}"),
        ({"ca": "ca"}, f"ssl {CA} verify required {SNI}"),
        ({"ca": "ca", "crl": "crl"}, f"ssl {CA} crl-file {CERTS}/crl.pem verify required {SNI}"),
        (
            {"ciphers": "A:TLS_A", "versions": ["TLSv1.3"]},
            f"ssl verify none {SNI} ciphersuites TLS_A no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12",
        ),
        ({"alpn": ["h2"]}, f"ssl verify none {SNI} alpn h2"),
    ],
)
def test_member_is_spoken_to_over_tls(fields: Part, expected: str) -> None:
    """A pool's TLS is words of each server; with a CA the member must show a good certificate."""
    assert options(balancer(pool={"tls": fields})) == f"weight 1 {expected}"


def test_check_offers_what_the_pool_does() -> None:
    """The ALPN of a pool is that of its checks."""
    part = balancer(pool={"tls": {"alpn": ["h2"]}, "health_monitor": {"type": "TCP"}})
    assert options(part).startswith("weight 1 check check-alpn h2 inter 5s ")
