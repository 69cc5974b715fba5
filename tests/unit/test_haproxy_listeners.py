# SPDX-License-Identifier: Apache-2.0
"""Documents as haproxy.cfg: listeners and their TLS."""

import pytest

from amphora_agent.balancer import haproxy
from amphora_agent.layout import Layout
from tests.support.haproxy_rows import (
    BACKEND,
    CA,
    CERTS,
    FRONTEND,
    LB,
    LISTENER,
    MEMBER,
    TLS,
    Part,
    balancer,
    beginning,
    decode,
    options,
    sections,
    tls,
)


def test_listener_is_a_frontend() -> None:
    """Limit, VIP, mode, time and backend stand in it, and the backend has the rest."""
    timeouts = {
        "timeout_client_data_ms": 1,
        "timeout_member_connect_ms": 2,
        "timeout_member_data_ms": 3,
        "timeout_tcp_inspect_ms": 4,
    }
    part = balancer(listener=timeouts | {"connection_limit": 7})
    found = sections(part | {"tuning": {"connection_logging": False}})
    assert found[FRONTEND] == [
        "maxconn 7",
        "bind 192.0.2.10:80",
        "mode http",
        f"default_backend {BACKEND[1]}",
        "timeout client 1",
        "tcp-request inspect-delay 4",
    ]
    assert found[BACKEND] == [
        "mode http",
        "http-reuse safe",
        "balance roundrobin",
        "fullconn 7",
        "option allbackups",
        "timeout connect 2",
        "timeout server 3",
        f"server {MEMBER} 203.0.113.1:8080 weight 1",
    ]


def test_listener_is_bound_to_every_vip() -> None:
    """Each VIP has a bind, an IPv6 one too."""
    more = [{"address": "2001:db8::9", "subnet": "2001:db8::/64"}]
    found = sections(balancer(additional_vips=more))[FRONTEND]
    assert beginning(found, "bind") == ["bind 192.0.2.10:80", "bind 2001:db8::9:80"]


@pytest.mark.parametrize(
    ("listener", "pool", "modes"),
    [
        ("TCP", "TCP", ("tcp", "tcp")),
        ("HTTPS", "HTTPS", ("tcp", "tcp")),
        ("HTTP", "HTTP", ("http", "http")),
        ("TERMINATED_HTTPS", "HTTP", ("http", "http")),
        ("HTTP", "PROXY", ("http", "http")),
        ("TERMINATED_HTTPS", "PROXYV2", ("http", "http")),
        ("TCP", "PROXY", ("tcp", "tcp")),
        ("HTTPS", "PROXYV2", ("tcp", "tcp")),
        ("TCP", "HTTP", ("tcp", "http")),
    ],
)
def test_mode_follows_the_protocol(listener: str, pool: str, modes: tuple[str, str]) -> None:
    """A pool of the PROXY protocol has its listener's mode, any other one its own."""
    fields = (TLS if listener == "TERMINATED_HTTPS" else {}) | {"protocol": listener}
    found = sections(balancer(listener=fields, pool={"protocol": pool}))
    assert f"mode {modes[0]}" in found[FRONTEND]
    assert f"mode {modes[1]}" in found[BACKEND]
    assert ("http-reuse safe" in found[BACKEND]) == (modes[1] == "http")


@pytest.mark.parametrize(
    ("listener", "request_"),
    [({}, "%{+Q}r %ST"), (TLS, "%{+Q}r %ST"), ({"protocol": "TCP"}, "- -")],
)
def test_log_tells_requests_where_there_are_some(listener: Part, request_: str) -> None:
    """The format is one word, and has dashes for requests that haproxy does not look at."""
    pool = {"protocol": "TCP"} if listener.get("protocol") == "TCP" else {}
    found = sections(balancer(listener=listener, pool=pool, project_id="p"))[FRONTEND]
    assert beginning(found, "log-format") == [
        f"log-format p {LB} %f %ci %cp %t {request_} %B %U %[ssl_c_verify] %{{+Q}}[ssl_c_s_dn] "
        "%b %s %Tt %tsc"
    ]


LIST = f"ssl crt-list {CERTS}/{LISTENER}.pem"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, LIST),
        ({"client_ca": "ca"}, f"{LIST} {CA} verify none"),
        (
            {"client_ca": "ca", "client_authentication": "OPTIONAL"},
            f"{LIST} {CA} verify optional",
        ),
        (
            {"client_ca": "ca", "client_authentication": "MANDATORY", "client_crl": "crl"},
            f"{LIST} {CA} verify required crl-file {CERTS}/crl.pem",
        ),
        ({"ciphers": "B:A:TLS_B:TLS_A"}, f"{LIST} ciphers A:B ciphersuites TLS_A:TLS_B"),
        (
            {"ciphers": "B:A:TLS_A", "versions": ["TLSv1.3"]},
            f"{LIST} ciphersuites TLS_A no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12",
        ),
        (
            {"ciphers": "A:TLS_A", "versions": ["TLSv1.2"]},
            f"{LIST} ciphers A no-sslv3 no-tlsv10 no-tlsv11 no-tlsv13",
        ),
        ({"alpn": ["h2", "http/1.1"]}, f"{LIST} alpn h2,http/1.1"),
    ],
)
def test_bind_terminates_tls(fields: Part, expected: str) -> None:
    """Each part of TLS is a word of the bind, ciphers sorted and apart by version."""
    assert options(balancer(listener=tls(**fields)), "bind") == expected


def test_certificates_are_listed_the_default_one_first() -> None:
    """The list of a listener names its certificates in their order; one without TLS has none."""
    part = balancer(listener=tls(certificates=["two", "one"]))
    document = decode(part)
    assert haproxy.certificate_lists(document, Layout()) == {
        f"{LISTENER}.pem": f"{CERTS}/two.pem\n{CERTS}/one.pem\n".encode()
    }
    assert not haproxy.certificate_lists(decode(balancer()), Layout())


@pytest.mark.parametrize(
    ("hsts", "value"),
    [
        ({"max_age_s": 5}, "max-age=5;"),
        ({"max_age_s": 5, "include_subdomains": True}, "max-age=5; includeSubDomains;"),
        (
            {"max_age_s": 5, "include_subdomains": True, "preload": True},
            "max-age=5; includeSubDomains; preload;",
        ),
    ],
)
def test_hsts_is_a_header_of_answers(hsts: Part, value: str) -> None:
    """The header is there where asked for; clients without TLS are sent to it either way."""
    to_tls = "redirect scheme https if !{ ssl_fc }"
    found = sections(balancer(listener=tls(hsts=hsts)))[FRONTEND]
    assert f"http-response set-header Strict-Transport-Security {value}" in found
    assert to_tls in found
    without = sections(balancer(listener=TLS))[FRONTEND]
    assert to_tls in without
    assert not beginning(without, "http-response")
