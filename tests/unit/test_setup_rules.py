# SPDX-License-Identifier: Apache-2.0
"""Rules of the security groups: which ones, and that Neutron's telling is understood."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_controller.setup.rules import Rule, amphora_rules, controller_rules, told
from tests.support.sites import loaded

NETWORKS = ("192.0.2.0/24", "2001:db8::/64")
EGRESS = {"egress IPv4 all", "egress IPv6 all"}
ICMP = {"ingress IPv4 icmp", "ingress IPv6 icmp"}
AGENT = {
    "ingress IPv4 tcp 9443 from 192.0.2.11/32",
    "ingress IPv6 tcp 9443 from 2001:db8::12/128",
}
HEARTBEATS = {
    "ingress IPv4 udp 5555 from 192.0.2.0/24",
    "ingress IPv6 udp 5555 from 2001:db8::/64",
}


def shown(rules: frozenset[Rule]) -> set[str]:
    """Rules in words."""
    return {str(rule) for rule in rules}


def test_only_controllers_reach_the_agent(tmp_path: Path) -> None:
    """9443 is open to each controller's address alone, and 22 only where the site says so."""
    assert shown(amphora_rules(loaded(tmp_path), NETWORKS)) == EGRESS | ICMP | AGENT
    with_ssh = shown(amphora_rules(loaded(tmp_path, management__ssh=True), NETWORKS))
    assert with_ssh - (EGRESS | ICMP | AGENT) == {rule.replace("9443", "22") for rule in AGENT}


def test_amphorae_reach_controllers_with_heartbeats(tmp_path: Path) -> None:
    """Heartbeats come from the management network, and logs where controllers take them."""
    assert shown(controller_rules(loaded(tmp_path), NETWORKS)) == EGRESS | ICMP | HEARTBEATS
    logs = loaded(
        tmp_path,
        logs__admin_targets=["192.0.2.11:10514", "198.51.100.1:514"],
        logs__tenant_targets=["[2001:db8:0::12]:20514"],
        logs__protocol="TCP",
    )
    more = shown(controller_rules(logs, NETWORKS[:1])) - (EGRESS | ICMP | HEARTBEATS)
    assert more == {
        "ingress IPv4 tcp 10514 from 192.0.2.0/24",
        "ingress IPv4 tcp 20514 from 192.0.2.0/24",
    }


def test_family_without_a_subnet_gets_no_rule(tmp_path: Path) -> None:
    """A network of IPv4 alone has no rule that lets anything of IPv6 in from it."""
    rules = controller_rules(loaded(tmp_path), NETWORKS[:1])
    assert {rule.version for rule in rules if rule.direction == "ingress"} == {4}


@given(
    rule=st.builds(
        Rule,
        direction=st.sampled_from(["ingress", "egress"]),
        version=st.sampled_from([4, 6]),
        protocol=st.sampled_from([None, "tcp", "udp", "icmp"]),
        port=st.none() | st.integers(1, 65535),
        remote=st.none() | st.sampled_from(["192.0.2.0/24", "2001:db8::/64"]),
    )
)
def test_rule_is_known_again_as_neutron_tells_it(rule: Rule) -> None:
    """What Neutron is told and tells is the same rule."""
    answer = {**rule.body("group"), "remote_group_id": None, "remote_address_group_id": None}
    assert told(answer) == rule


@pytest.mark.parametrize(
    "change",
    [{"remote_group_id": "g"}, {"remote_address_group_id": "a"}, {"port_range_max": 9444}],
)
def test_rule_of_another_kind_is_never_one_of_ours(change: dict[str, object]) -> None:
    """A rule for a group, an address group or a range of ports is none that is wanted."""
    rule = Rule(direction="ingress", version=4, protocol="tcp", port=9443)
    answer = {**rule.body("group"), "remote_group_id": None, "remote_address_group_id": None}
    assert told(answer) == rule
    assert told({**answer, **change}) is None
