# SPDX-License-Identifier: Apache-2.0
"""Documents as haproxy.cfg: policies and rules."""

from collections.abc import Iterator

import pytest

from tests.support.haproxy_rows import (
    BACKEND,
    FRONTEND,
    POOL,
    RULE,
    RULE_2,
    Part,
    balancer,
    beginning,
    policy,
    sections,
    tls,
)


def _rules() -> Iterator[tuple[Part, str]]:
    yield {"type": "HOST_NAME", "value": "a"}, "req.hdr(host) -i -m str a"
    yield {"type": "PATH", "value": "/a"}, "path -m str /a"
    yield {"type": "FILE_TYPE", "value": "jpg"}, "path_end jpg"
    yield {"type": "FILE_TYPE", "value": "jpg", "compare_type": "REGEX"}, "path_end -m reg jpg"
    yield {"type": "HEADER", "key": "X-A", "value": "a"}, "req.hdr(X-A) -m str a"
    yield {"type": "COOKIE", "key": "c", "value": "a"}, "req.cook(c) -m str a"
    for compare, flag in (
        ("REGEX", "reg"),
        ("STARTS_WITH", "beg"),
        ("ENDS_WITH", "end"),
        ("CONTAINS", "sub"),
        ("EQUAL_TO", "str"),
    ):
        yield {"value": "a", "compare_type": compare}, f"path -m {flag} a"
    # Hard values: each stays the one word that it is.
    for value in ("a b", "a\\d b", "#a", "it's", '"a"', "$HOME", "%[env(HOME)]", "-f", "--"):
        dashes = "-- " if value.startswith("-") else ""
        yield {"value": value}, f"path -m str {dashes}{value}"


@pytest.mark.parametrize(("rule", "expected"), list(_rules()))
def test_rule_is_an_acl(rule: Part, expected: str) -> None:
    """What a rule looks at, how, and its value stand in one line under its id."""
    found = sections(balancer(listener=policy({"action": "REJECT"}, rule)))[FRONTEND]
    assert beginning(found, "acl", "http-request") == [
        f"acl {RULE} {expected}",
        f"http-request deny if {RULE}",
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"type": "SSL_CONN_HAS_CERT", "value": "True"}, "ssl_c_used"),
        ({"type": "SSL_VERIFY_RESULT", "value": "10"}, "ssl_c_verify eq 10"),
        ({"type": "SSL_DN_FIELD", "key": "CN", "value": "a"}, "ssl_c_s_dn(CN) -m str a"),
    ],
)
def test_rule_looks_at_the_clients_certificate(rule: Part, expected: str) -> None:
    """Rules about certificates are ACLs of haproxy's TLS functions."""
    listener = tls(client_ca="ca") | policy({"action": "REJECT"}, rule)
    assert f"acl {RULE} {expected}" in sections(balancer(listener=listener))[FRONTEND]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"action": "REJECT"}, "http-request deny"),
        ({"action": "REDIRECT_TO_URL", "redirect_url": "/a"}, "redirect location /a"),
        (
            {"action": "REDIRECT_TO_URL", "redirect_url": "/a", "redirect_http_code": 307},
            "redirect code 307 location /a",
        ),
        ({"action": "REDIRECT_TO_URL", "redirect_url": "/%20%ci"}, "redirect location /%%20%%ci"),
        (
            {"action": "REDIRECT_PREFIX", "redirect_prefix": "http://a", "redirect_http_code": 301},
            "redirect code 301 prefix http://a",
        ),
        ({"action": "REDIRECT_TO_POOL", "redirect_pool": POOL}, f"use_backend {BACKEND[1]}"),
    ],
)
def test_policy_does_what_it_says(action: Part, expected: str) -> None:
    """An action stands under all of its policy's rules, `!` before one that is inverted."""
    listener = policy(action, {}, {"invert": True, "value": "/y"})
    found = sections(balancer(listener=listener))[FRONTEND]
    assert beginning(found, "http-request", "redirect", "use_backend") == [
        f"{expected} if {RULE} !{RULE_2}"
    ]


@pytest.mark.parametrize(
    ("action", "rules", "pool"),
    [
        ({"action": "REJECT", "enabled": False}, ({},), {}),
        ({"action": "REJECT"}, ({"enabled": False},), {}),
        ({"action": "REDIRECT_TO_POOL", "redirect_pool": POOL}, ({},), {"enabled": False}),
    ],
)
def test_policy_that_is_off_does_nothing(action: Part, rules: tuple[Part, ...], pool: Part) -> None:
    """Off are a policy, one whose rules are all off, and one to a pool that is off."""
    found = sections(balancer(listener=policy(action, *rules), pool=pool))[FRONTEND]
    assert not beginning(found, "http-request", "redirect", "use_backend")
