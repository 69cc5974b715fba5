# SPDX-License-Identifier: Apache-2.0
"""What the real haproxy refuses, with the place in the document that is told for it."""

from typing import Any

import pytest

from amphora_agent.balancer import refusals
from amphora_agent.errors import CommandFailed
from tests.functional.test_haproxy_parity import Place, decode, place
from tests.support.haproxy_documents import certificates

__all__ = ["place"]

Part = dict[str, Any]


def _id(number: int) -> str:
    return f"{number:08x}-1111-4111-8111-111111111111"


def document() -> Part:
    """Two VIPs, two HTTPS listeners on one pool, and rules on the second of them."""
    tls = {"certificates": ["one", "two"], "client_ca": "ca", "client_authentication": "OPTIONAL"}
    listeners = [
        {
            "id": _id(10 + number),
            "protocol": "TERMINATED_HTTPS",
            "port": 443 + number,
            "default_pool": _id(20),
            "tls": dict(tls),
        }
        for number in range(2)
    ]
    rules = [
        {"id": _id(40), "type": "PATH", "value": "/a"},
        {"id": _id(41), "type": "PATH", "value": "/b", "invert": True},
    ]
    listeners[1]["policies"] = [{"id": _id(30), "action": "REJECT", "rules": rules}]
    members = [{"id": _id(50 + n), "address": f"198.51.100.{n}", "port": 80} for n in (1, 2)]
    return {
        "id": _id(1),
        "vip": {"address": "192.0.2.10", "subnet": "192.0.2.0/24"},
        "additional_vips": [{"address": "2001:db8::10", "subnet": "2001:db8::/64"}],
        "certificates": certificates(),
        "listeners": listeners,
        "pools": [{"id": _id(20), "protocol": "HTTP", "members": members}],
    }


def with_rule(**rule: Any) -> Part:
    """The document with another second rule."""
    made = document()
    made["listeners"][1]["policies"][0]["rules"][1] |= rule
    return made


def with_tls(**tls: Any) -> Part:
    """The document with other TLS of the second listener."""
    made = document()
    made["listeners"][1]["tls"] |= tls
    return made


def with_pool_tls(**tls: Any) -> Part:
    """The document with TLS to the members."""
    made = document()
    made["pools"][0]["tls"] = tls
    return made


def told(place: Place, part: Part) -> dict[str, str]:
    """Places and reasons of a refusal."""
    found = decode(part)
    config = place.written(found)
    with pytest.raises(CommandFailed) as refused:
        place.check(found)
    faults = refusals.faults(found, config, config.read_text(), refused.value.output)
    return dict(faults)


_RULE = "listeners[1].policies[0].rules[1].value"


@pytest.mark.parametrize(
    ("part", "path", "words"),
    [
        (with_rule(compare_type="REGEX", value="("), _RULE, "missing closing parenthesis"),
        # Python's re would take it.
        (with_rule(compare_type="REGEX", value="[[:nope:]]"), _RULE, "POSIX class"),
        (with_rule(type="SSL_VERIFY_RESULT", value="9" * 30), _RULE, "is not a number"),
        (with_tls(ciphers="NOSUCH"), "listeners[1].tls.ciphers", "'NOSUCH'"),
        (with_tls(ciphers="TLS_NOSUCH"), "listeners[1].tls.ciphers", "'TLS_NOSUCH'"),
        (with_tls(versions=["SSLv3"]), "listeners[1].tls.versions", "versions are disabled"),
        (with_tls(certificates=["one", "crl"]), "listeners[1].tls.certificates[1]", "crl.pem"),
        (with_pool_tls(ciphers="NOSUCH"), "pools[0].tls.ciphers", "'NOSUCH'"),
        (with_pool_tls(versions=["SSLv3"]), "pools[0].tls.versions", "versions are disabled"),
        (with_pool_tls(certificate="ca"), "pools[0].tls.certificate", "Private Key"),
    ],
)
def test_haproxy_refusal_is_told_with_its_place(
    place: Place, part: Part, path: str, words: str
) -> None:
    """What haproxy refuses of a document is told at the one place that is to blame."""
    faults = told(place, part)
    assert list(faults) == [path]
    assert words in faults[path]
    assert "ALERT" not in faults[path]


def test_haproxy_refusals_are_all_told(place: Place) -> None:
    """Two rules that are wrong are two faults, and the policy that needs them is none."""
    part = with_rule(compare_type="REGEX", value="(")
    part["listeners"][1]["policies"][0]["rules"][0] |= {"compare_type": "REGEX", "value": "[z-a]"}
    rules = "listeners[1].policies[0].rules"
    assert set(told(place, part)) == {f"{rules}[0].value", f"{rules}[1].value"}


def test_haproxy_takes_the_document_of_the_refusals(place: Place) -> None:
    """Without the mistakes above the document is not refused."""
    place.check(decode(document()))


def test_haproxy_refusal_of_a_file_that_is_not_rendered_has_no_place(place: Place) -> None:
    """A mistake in the group's file, at whatever line, is not blamed on the document."""
    found = decode(document())
    config = place.written(found)
    place.layout.user_group.write_text("\n" * 30 + "nonsense\n")
    with pytest.raises(CommandFailed) as refused:
        place.check(found)
    assert ":31]" in refused.value.output
    assert refusals.faults(found, config, config.read_text(), refused.value.output) == ()
