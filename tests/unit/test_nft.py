# SPDX-License-Identifier: Apache-2.0
"""Rule sets for nftables."""

import dataclasses
from ipaddress import ip_interface, ip_network

import pytest

from amphora_agent import masquerade, nft, plan, render
from amphora_agent.errors import InvalidRequest
from amphora_agent.models import (
    Address,
    FirewallRule,
    Interface,
    IPNetwork,
    RuleProtocol,
)
from amphora_agent.topology import Topology
from tests.unit.test_plan import PLUG

NARROW = ip_network("192.0.2.0/24")
ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def rule(protocol: RuleProtocol, cidr: IPNetwork | None = None, port: int = 80) -> FirewallRule:
    """A rule with a port that most have."""
    return FirewallRule(protocol=protocol, cidr=cidr, port=port)


@pytest.mark.parametrize(
    ("wanted", "statement"),
    [
        (rule(RuleProtocol.TCP), "tcp dport 80 accept"),
        (rule(RuleProtocol.UDP, port=53), "udp dport 53 accept"),
        (rule(RuleProtocol.SCTP, NARROW), "ip saddr 192.0.2.0/24 sctp dport 80 accept"),
        (
            rule(RuleProtocol.TCP, ip_network("2001:db8::/64")),
            "ip6 saddr 2001:db8::/64 tcp dport 80 accept",
        ),
        # Everybody of one IP version is not everybody.
        (rule(RuleProtocol.TCP, ANYWHERE[0]), "meta nfproto ipv4 tcp dport 80 accept"),
        (rule(RuleProtocol.TCP, ANYWHERE[1]), "meta nfproto ipv6 tcp dport 80 accept"),
        (
            rule(RuleProtocol.VRRP, ip_network("198.51.100.5/32"), 112),
            "ip saddr 198.51.100.5/32 meta l4proto 112 accept",
        ),
        (
            rule(RuleProtocol.VRRP, ip_network("2001:db8::5/128"), 112),
            "ip6 saddr 2001:db8::5/128 meta l4proto 112 accept",
        ),
    ],
)
def test_rule_becomes_one_statement(wanted: FirewallRule, statement: str) -> None:
    """Source, protocol and port are matched, in both IP versions."""
    assert nft.accepted(wanted) == statement


def vip_chain(text: str) -> list[str]:
    """Statements of the chain that packets of the VIP's NIC go through."""
    chain = text.partition("chain amphora_vip_chain {\n")[2].partition("}")[0]
    return [line.strip() for line in chain.splitlines() if line.strip()]


def test_firewall_without_rules_lets_nothing_in_through_the_vip() -> None:
    """An empty list is a chain without statements, before which everything else is dropped."""
    text = render.vip_firewall(())
    assert vip_chain(text) == []
    assert "type filter hook input priority filter; policy drop;" in text


def test_firewall_replaces_the_one_before() -> None:
    """The table is made, deleted and made again, so that loading never fails nor adds."""
    text = render.vip_firewall(())
    assert [line for line in text.splitlines() if "table inet" in line] == [
        "table inet amphora_table {",
        "delete table inet amphora_table",
        "table inet amphora_table {",
    ]


def test_firewall_has_each_statement_once_and_in_order() -> None:
    """Two listeners that let in the same make one statement."""
    rules = (rule(RuleProtocol.TCP), rule(RuleProtocol.UDP), rule(RuleProtocol.TCP))
    assert vip_chain(render.vip_firewall(rules)) == ["tcp dport 80 accept", "udp dport 80 accept"]


@pytest.mark.parametrize("name", ["", "eth1;", 'eth1"', "eth1\n", "a" * 16, "eth 1", "$x", "-f"])
def test_masquerade_refuses_what_no_interface_is_called(name: str) -> None:
    """A name that could end the statement, or be another one, is an error."""
    with pytest.raises(InvalidRequest, match="Invalid interface name"):
        render.masquerade(name, (4,), change=nft.Change.ADD, track_tcp=False)


def elements(text: str) -> list[str]:
    """Statements that change the sets of interfaces."""
    return [line for line in text.splitlines() if " element " in line]


def test_masquerade_adds_one_interface_to_both_sets() -> None:
    """The interface is masqueraded, and TCP on it is not tracked."""
    text = render.masquerade("eth2", {4}, change=nft.Change.ADD, track_tcp=False)
    assert elements(text) == [
        'add element ip octavia-ipv4 masqueraded { "eth2" }',
        'add element ip octavia-ipv4 untracked { "eth2" }',
    ]
    assert "octavia-ipv6" not in text


def test_masquerade_of_a_virtual_function_tracks_tcp() -> None:
    """Its firewall lets answers in by the state of their connections."""
    text = render.masquerade("eth2", {6}, change=nft.Change.ADD, track_tcp=True)
    assert elements(text) == [
        'add element ip6 octavia-ipv6 masqueraded { "eth2" }',
        'add element ip6 octavia-ipv6 untracked { "eth2" }',
        'delete element ip6 octavia-ipv6 untracked { "eth2" }',
    ]


def test_masquerade_deletes_one_interface_of_both_families() -> None:
    """Each set loses the interface, whether it was in it or not."""
    text = render.masquerade("eth2", {6, 4}, change=nft.Change.DELETE, track_tcp=False)
    deleted = [line for line in elements(text) if line.startswith("delete")]
    assert deleted == [
        'delete element ip octavia-ipv4 masqueraded { "eth2" }',
        'delete element ip octavia-ipv4 untracked { "eth2" }',
        'delete element ip6 octavia-ipv6 masqueraded { "eth2" }',
        'delete element ip6 octavia-ipv6 untracked { "eth2" }',
    ]


def test_ip_versions_are_those_of_the_addresses() -> None:
    """A VIP that keepalived owns counts; addresses that come by themselves may be of both."""
    desired = plan.vip_interface(PLUG, Topology.ACTIVE_STANDBY)
    assert nft.ip_versions(desired) == {4}
    six = Address(interface=ip_interface("2001:db8::9/128"), owned=False)
    dual: Interface = dataclasses.replace(desired, addresses=(*desired.addresses, six))
    assert nft.ip_versions(dual) == {4, 6}
    assert nft.ip_versions(dataclasses.replace(desired, addresses=(), automatic=True)) == {4, 6}
    assert nft.ip_versions(dataclasses.replace(desired, addresses=())) == frozenset()


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "add",
        "add ipv4",
        "remove ipv4 eth1",
        "add ipv5 eth1",
        "add ipv4 eth1 other",
        "add ipv4 eth1 sriov more",
        "add ipv4 eth1;",
    ],
)
def test_masquerade_program_refuses_wrong_arguments(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong call is told on standard error, and nothing is printed for nft."""
    assert masquerade.main(arguments.split()) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage" in err or "Invalid interface name" in err


@pytest.mark.parametrize(
    ("arguments", "version", "change", "track_tcp"),
    [
        ("add ipv4 eth1", 4, nft.Change.ADD, False),
        ("add ipv6 eth1 sriov", 6, nft.Change.ADD, True),
        ("delete ipv6 eth1", 6, nft.Change.DELETE, False),
    ],
)
def test_masquerade_program_prints_what_the_agent_loads(
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    version: int,
    change: nft.Change,
    *,
    track_tcp: bool,
) -> None:
    """The program and the agent have one text."""
    assert masquerade.main(arguments.split()) == 0
    text = render.masquerade("eth1", {version}, change=change, track_tcp=track_tcp)
    assert capsys.readouterr().out == text
