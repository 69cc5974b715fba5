# SPDX-License-Identifier: Apache-2.0
"""Documents: what is taken, and where what is wrong is said to be."""

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amphora_agent.balancer import checks
from amphora_agent.balancer.checks import InvalidDocument
from amphora_agent.errors import InvalidRequest

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def uuid(number: int) -> str:
    """The id of an object."""
    return f"{number:08x}-1111-4111-8111-111111111111"


def document() -> dict[str, Any]:
    """A valid document with something of each kind in it."""
    return {
        "id": uuid(1),
        "vip": {
            "address": "192.0.2.10",
            "subnet": "192.0.2.0/24",
            "gateway": "192.0.2.1",
            "host_routes": [{"destination": "198.51.100.0/24", "nexthop": "192.0.2.2"}],
        },
        "additional_vips": [{"address": "2001:db8::10", "subnet": "2001:db8::/64"}],
        "topology": "ACTIVE_STANDBY",
        "amphorae": [
            {"id": uuid(2), "vrrp_ip": "192.0.2.11"},
            {"id": uuid(3), "vrrp_ip": "192.0.2.12", "role": "BACKUP"},
        ],
        "vrrp": {"authentication": "1a2b3c4"},
        "certificates": [{"name": "own", "pem": PEM}, {"name": "ca", "sha256": "0" * 64}],
        "listeners": [
            {
                "id": uuid(10),
                "protocol": "TERMINATED_HTTPS",
                "port": 443,
                "default_pool": uuid(20),
                "insert_headers": ["X-Forwarded-For", "X-SSL-Client-DN"],
                "tls": {
                    "certificates": ["own"],
                    "client_authentication": "OPTIONAL",
                    "client_ca": "ca",
                    "client_crl": "ca",
                    "hsts": {"max_age_s": 1},
                },
                "policies": [
                    {
                        "id": uuid(11),
                        "action": "REDIRECT_TO_URL",
                        "redirect_url": "https://example.com/",
                        "redirect_http_code": 301,
                        "rules": [
                            {"id": uuid(12), "type": "HEADER", "key": "X-A", "value": "b"},
                            {"id": uuid(13), "type": "SSL_VERIFY_RESULT", "value": "0"},
                        ],
                    },
                    {
                        "id": uuid(14),
                        "action": "REDIRECT_TO_POOL",
                        "redirect_pool": uuid(20),
                        "rules": [{"id": uuid(15), "type": "PATH", "value": "/x"}],
                    },
                ],
                "rate_limit": {"requests_per_10s": 100},
            },
            {"id": uuid(30), "protocol": "UDP", "port": 443, "default_pool": uuid(40)},
            {"id": uuid(50), "protocol": "TCP", "port": 80},
        ],
        "pools": [
            {
                "id": uuid(20),
                "protocol": "HTTP",
                "members": [
                    {"id": uuid(21), "address": "203.0.113.1", "port": 80},
                    {"id": uuid(22), "address": "203.0.113.2", "port": 80, "backup": True},
                ],
                "health_monitor": {
                    "type": "HTTP",
                    "http_version": "1.1",
                    "domain_name": "example.com",
                },
                "session_persistence": {"type": "APP_COOKIE", "cookie_name": "s"},
                "tls": {"ca": "ca", "crl": "ca", "certificate": "own"},
            },
            {
                "id": uuid(40),
                "protocol": "UDP",
                "members": [{"id": uuid(41), "address": "203.0.113.1", "port": 53}],
                "health_monitor": {"type": "UDP-CONNECT"},
                "session_persistence": {
                    "type": "SOURCE_IP",
                    "timeout_s": 60,
                    "granularity": "255.255.255.0",
                },
            },
        ],
    }


def place(whole: Any, path: str) -> tuple[Any, str | int]:
    """The container of a part, and its key there."""
    steps: list[str | int] = []
    for name in path.split("."):
        head, *indexes = name.replace("]", "").split("[")
        steps += [head, *map(int, indexes)]
    for step in steps[:-1]:
        whole = whole[step]
    return whole, steps[-1]


def changed(path: str, value: Any) -> dict[str, Any]:
    """The document with one part replaced; None takes it away."""
    whole = document()
    container, key = place(whole, path)
    if value is None:
        del container[key]
    else:
        container[key] = value
    return whole


def problems(whole: Any) -> dict[str, str]:
    """What is wrong with a document, by place."""
    with pytest.raises(InvalidDocument) as caught:
        checks.decode(json.dumps(whole).encode())
    return {problem.path: problem.reason for problem in caught.value.problems}


def test_valid_document_is_taken() -> None:
    """A document with something of each kind decodes to what it says."""
    found = checks.decode(json.dumps(document()).encode())
    assert found.listeners[0].pool_ids == (uuid(20),)
    assert found.pool(uuid(40)).members[0].address == "203.0.113.1"
    assert [str(vip.address) for vip in found.vips] == ["192.0.2.10", "2001:db8::10"]


@pytest.mark.parametrize(
    ("path", "value", "at", "words"),
    [
        # Types
        ("vip.address", "192.0.2.300", "vip.address", "does not appear to be an IPv4 or IPv6"),
        ("vip.address", "fe80::1%eth0", "vip.address", "names a zone"),
        ("vip.subnet", "192.0.2.1/24", "vip.subnet", "has host bits set"),
        ("id", uuid(1).upper().replace("1", "A"), "id", "is not a UUID in lower case"),
        ("id", uuid(1) + "\n", "id", "is not a UUID in lower case"),
        ("listeners[2].port", 0, "listeners[2].port", "Expected `int` >= 1"),
        ("listeners[2].protocol", "tcp", "listeners[2].protocol", "Invalid enum value 'tcp'"),
        ("listeners[2].portt", 1, "listeners[2]", "unknown field `portt`"),
        ("vip", None, "", "missing required field `vip`"),
        ("pools[0].members[0].weight", 257, "pools[0].members[0].weight", "<= 256"),
        (
            "listeners[0].policies[0].redirect_url",
            "https://a b",
            "listeners[0].policies[0].redirect_url",
            "is not a URL",
        ),
        (
            "listeners[0].policies[0].rules[0].value",
            "a\nb",
            "listeners[0].policies[0].rules[0].value",
            "do not print",
        ),
        (
            "pools[1].session_persistence.granularity",
            "255.0.255.0",
            "pools[1].session_persistence.granularity",
            "netmask",
        ),
        (
            "pools[0].health_monitor.expected_codes",
            "204-200",
            "pools[0].health_monitor.expected_codes",
            "'204-200' runs backwards",
        ),
        ("project_id", "abc\n", "project_id", "is not 1 to 64 letters, digits or -"),
        ("vrrp.authentication", "secret\n", "vrrp.authentication", "it is not 1 to 8 letters"),
        # Ids, addresses, ports
        ("pools[1].id", uuid(20), "pools[1].id", "is the id of pools[0] too"),
        ("pools[0].members[1].id", uuid(21), "pools[0].members[1].id", "members[0] too"),
        ("vip.address", "192.0.3.10", "vip.address", "192.0.3.10 is not in 192.0.2.0/24"),
        ("vip.gateway", "2001:db8::1", "vip.gateway", "another family"),
        ("vip.host_routes[0].nexthop", "2001:db8::1", "vip.host_routes[0].nexthop", "family"),
        (
            "additional_vips[0]",
            {"address": "192.0.2.10", "subnet": "192.0.2.0/24"},
            "additional_vips[0].address",
            "192.0.2.10 is a VIP already",
        ),
        ("listeners[2].port", 443, "listeners[2].port", "TCP port 443 is that of listeners[0]"),
        ("pools[0].members[1].address", "203.0.113.1", "pools[0].members[1]", "members[0] already"),
        # The pair
        ("vrrp", None, "vrrp", "ACTIVE_STANDBY needs it"),
        ("amphorae", [], "amphorae", "has two"),
        ("topology", "SINGLE", "vrrp", "only for topology ACTIVE_STANDBY"),
        ("topology", "SINGLE", "amphorae", "topology SINGLE has one amphora"),
        ("amphorae[1].role", "MASTER", "amphorae[1].role", "MASTER is the other amphora's"),
        ("amphorae[1].vrrp_ip", "2001:db8::9", "amphorae[1].vrrp_ip", "another family"),
        ("vrrp.advert_interval_ms", 500, "vrrp.advert_interval_ms", "use version 3"),
        ("vrrp.version", 3, "vrrp.authentication", "version 3 has none"),
        # Certificates
        ("certificates[1].name", "own", "certificates[1].name", "twice"),
        ("certificates[1].sha256", None, "certificates[1]", "it needs a pem"),
        ("certificates[0].pem", "no", "certificates[0].pem", "not in PEM format"),
        # Listeners
        ("listeners[2].protocol", "PROXY", "listeners[2].protocol", "PROXY is for pools"),
        ("listeners[2].connection_limit", 0, "listeners[2].connection_limit", "-1 stands for"),
        ("listeners[0].tls", None, "listeners[0].tls", "TERMINATED_HTTPS needs it"),
        ("listeners[2].tls", {"certificates": ["own"]}, "listeners[2].tls", "does not terminate"),
        ("listeners[0].tls.certificates", ["x"], "listeners[0].tls.certificates[0]", "there is no"),
        ("listeners[0].tls.client_ca", "x", "listeners[0].tls.client_ca", "there is no"),
        ("listeners[0].tls.client_ca", None, "listeners[0].tls.client_ca", "needs it"),
        ("listeners[0].tls.profile", "modern", "", ""),
        ("listeners[0].default_pool", uuid(99), "listeners[0].default_pool", "there is no pool"),
        ("listeners[0].default_pool", uuid(40), "listeners[0].default_pool", "not UDP"),
        ("listeners[1].default_pool", uuid(20), "listeners[1].default_pool", "not HTTP"),
        ("listeners[2].insert_headers", ["X-Forwarded-For"], "listeners[2].insert_headers", "does"),
        ("listeners[2].compression", True, "listeners[2].compression", "does not look at requests"),
        ("listeners[1].accept_proxy", True, "listeners[1].accept_proxy", "has none"),
        (
            "listeners[2].rate_limit",
            {"requests_per_10s": 1},
            "listeners[2].rate_limit.requests_per_10s",
            "does not look at requests",
        ),
        ("listeners[2].rate_limit", {}, "listeners[2].rate_limit", "limits nothing"),
        (
            "listeners[0].policies[0].redirect_url",
            "javascript:alert(1)",
            "listeners[0].policies[0].redirect_url",
            "begins with http://",
        ),
        (
            "listeners[0].policies[1].redirect_pool",
            None,
            "listeners[0].policies[1].redirect_pool",
            "action REDIRECT_TO_POOL needs it",
        ),
        (
            "listeners[0].policies[0].action",
            "REJECT",
            "listeners[0].policies[0].redirect_url",
            "action REJECT has none",
        ),
        (
            "listeners[0].policies[0].redirect_http_code",
            200,
            "listeners[0].policies[0].redirect_http_code",
            "one of 301",
        ),
        (
            "listeners[0].policies[0].rules[0].key",
            None,
            "listeners[0].policies[0].rules[0].key",
            "a rule of type HEADER needs it",
        ),
        (
            "listeners[0].policies[1].rules[0].key",
            "x",
            "listeners[0].policies[1].rules[0].key",
            "a rule of type PATH has none",
        ),
        (
            "listeners[0].policies[0].rules[1].value",
            "ok",
            "listeners[0].policies[0].rules[1].value",
            "X509_V_ERR",
        ),
        (
            "listeners[0].policies[0].rules",
            [
                {"id": uuid(1000 + number), "type": "PATH", "value": f"/{number}"}
                for number in range(51)
            ],
            "listeners[0].policies[0].rules",
            "at most 50, not 51",
        ),
        # Pools
        ("pools[1].protocol", "PROMETHEUS", "pools[1].protocol", "PROMETHEUS is for listeners"),
        ("pools[0].health_monitor.type", "SCTP", "pools[0].health_monitor.type", "UDP and SCTP"),
        ("pools[1].health_monitor.type", "PING", "pools[1].health_monitor.type", "not PING"),
        (
            "pools[0].health_monitor.url_path",
            "x",
            "pools[0].health_monitor.url_path",
            "must begin with /",
        ),
        ("pools[0].health_monitor.timeout_s", 6, "pools[0].health_monitor.timeout_s", "exceed"),
        (
            "pools[0].health_monitor.http_version",
            None,
            "pools[0].health_monitor.domain_name",
            "it needs http_version 1.1",
        ),
        (
            "pools[0].session_persistence.cookie_name",
            None,
            "pools[0].session_persistence.cookie_name",
            "APP_COOKIE needs it",
        ),
        (
            "pools[0].session_persistence.type",
            "HTTP_COOKIE",
            "pools[0].session_persistence.cookie_name",
            "only for type APP_COOKIE",
        ),
        (
            "pools[1].session_persistence.type",
            "HTTP_COOKIE",
            "pools[1].session_persistence.type",
            "only SOURCE_IP",
        ),
        ("pools[0].tls.ca", None, "pools[0].tls.ca", "crl needs it"),
        ("pools[0].proxy_v2_options", ["ssl"], "pools[0].proxy_v2_options", "PROXYV2"),
        ("pools[1].tls", {}, "pools[1].tls", "has none"),
        ("pools[1].slow_start_s", 5, "pools[1].slow_start_s", "has none"),
    ],
)
def test_fault_is_told_with_its_place(path: str, value: Any, at: str, words: str) -> None:
    """One change makes a document wrong at one place, which is named."""
    if not words:
        checks.decode(json.dumps(changed(path, value)).encode())
        return
    assert words in problems(changed(path, value))[at]


def test_networks_of_no_vip_are_told() -> None:
    """Allowed networks of a family that no VIP has are faults, and others are not."""
    whole = changed("listeners[2].allowed_cidrs", ["198.51.100.0/24", "2001:db8:1::/48"])
    checks.decode(json.dumps(whole).encode())
    del whole["additional_vips"]
    assert set(problems(whole)) == {"listeners[2].allowed_cidrs[1]"}


def test_all_faults_are_told_at_once() -> None:
    """Faults of parts that contradict each other do not hide one another."""
    whole = document()
    whole["vip"]["address"] = "192.0.3.10"
    whole["listeners"][0]["default_pool"] = uuid(98)
    whole["pools"][0]["health_monitor"]["timeout_s"] = 60
    assert set(problems(whole)) == {
        "vip.address",
        "listeners[0].default_pool",
        "pools[0].health_monitor.timeout_s",
    }


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{", b"\xff", b'{"id": "\xff"}', b"[" * 100_000, b'{"id":' * 100_000],
)
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    """Whatever comes, the answer is InvalidDocument."""
    with pytest.raises(InvalidDocument) as caught:
        checks.decode(data)
    assert isinstance(caught.value, InvalidRequest)
    assert caught.value.http_status == 400


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def _paths(whole: Any, prefix: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [prefix] if prefix else []
    items: list[tuple[str | int, Any]] = []
    if isinstance(whole, dict):
        items = list(whole.items())
    elif isinstance(whole, list):
        items = list(enumerate(whole))
    for key, value in items:
        found += _paths(value, (*prefix, key))
    return found


_PATHS = _paths(document())


@settings(max_examples=400)
@given(path=st.sampled_from(_PATHS), value=_JSON)
def test_any_change_is_taken_or_refused(path: tuple[str | int, ...], value: Any) -> None:
    """Anything in the place of any part gives a document or InvalidDocument, nothing else."""
    whole = copy.deepcopy(document())
    container: Any = whole
    for step in path[:-1]:
        container = container[step]
    container[path[-1]] = value
    with contextlib.suppress(InvalidDocument):
        checks.decode(json.dumps(whole).encode())
