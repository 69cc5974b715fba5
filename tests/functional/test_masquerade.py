# SPDX-License-Identifier: Apache-2.0
"""Members of UDP and SCTP listeners answer by way of the amphora, shown by real packets.

The amphora of these tests is a router between clients and members, as IPVS makes it one.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

import pytest

from amphora_agent.operations import firewall
from amphora_agent.operations.context import Context
from amphora_agent.settings import Settings
from amphora_agent.system.services import SystemdServices
from amphora_agent.wiring import build_context
from tests.functional.conftest import REPOSITORY
from tests.support import need, netns
from tests.support.netns import Namespace, namespace

pytestmark = pytest.mark.netns

PROGRAMS = REPOSITORY / "elements/amphora-agent/static/usr/local/bin"
BOTH = (4, 6)
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
CLIENT = {4: "198.51.100.1", 6: "2001:db8:1::1"}
# The amphora's address on either side, and the member's.
VIP_SIDE = {4: "198.51.100.4", 6: "2001:db8:1::4"}
MEMBER_SIDE = {4: "192.0.2.4", 6: "2001:db8:2::4"}
MEMBER = {4: "192.0.2.1", 6: "2001:db8:2::1"}
PREFIX = {4: 24, 6: 64}
_DEADLINE_S = 20.0
_REFUSAL_S = 0.5
_COUNTERS = """
table inet probe {
    chain output {
        type filter hook output priority 0;
        meta l4proto tcp ct state untracked counter
        meta l4proto tcp ct state new counter
    }
}
"""

# What to do with which interface, for which IP version, and whether it is a virtual function.
Change = Callable[[str, str, int, bool], None]


@dataclass(frozen=True, kw_only=True)
class Route:
    """A client, an amphora between eth1 and eth2, and a member."""

    client: Namespace
    amphora: Namespace
    member: Namespace
    context: Context

    def source_seen(self, version: int) -> str:
        """The address from which a client's datagram reaches the member."""
        with ExitStack() as closing:
            with self.member.entered():
                server = closing.enter_context(socket.socket(FAMILY[version], socket.SOCK_DGRAM))
            with self.client.entered():
                client = closing.enter_context(socket.socket(FAMILY[version], socket.SOCK_DGRAM))
            for each in (server, client):
                each.settimeout(_DEADLINE_S)
            server.bind((MEMBER[version], 53))
            client.sendto(b"question", (MEMBER[version], 53))
            _, where = server.recvfrom(64)
            server.sendto(b"answer", where)
            # The answer comes back, whoever seemed to ask.
            assert client.recvfrom(64)[1][0] == MEMBER[version]
            return str(where[0])

    def connections(self, version: int) -> tuple[bool, bool]:
        """Whether a connection of the amphora to the member is untracked, and whether tracked."""
        netns.run(*self.amphora.command("sh", "-c", f"printf '{_COUNTERS}' | nft -f -"))
        try:
            with ExitStack() as closing:
                with self.member.entered():
                    server = closing.enter_context(socket.socket(FAMILY[version]))
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((MEMBER[version], 80))
                server.listen()
                with self.amphora.entered():
                    client = closing.enter_context(socket.socket(FAMILY[version]))
                client.settimeout(_DEADLINE_S)
                client.connect((MEMBER[version], 80))
            listed = self.ruleset("list", "table", "inet", "probe")
            rules = [entry["rule"]["expr"] for entry in listed if "rule" in entry]
            untracked, tracked = (rule[-1]["counter"]["packets"] > 0 for rule in rules)
            return untracked, tracked
        finally:
            netns.run(*self.amphora.command("nft", "delete", "table", "inet", "probe"))

    def ruleset(self, *what: str) -> list[dict[str, Any]]:
        """What nft lists, without numbers that count."""
        text = netns.run(*self.amphora.command("nft", "--json", *what))
        return list(json.loads(text)["nftables"])

    def rules(self) -> list[dict[str, Any]]:
        """All rules and sets, without their numbers, which change with every load."""
        entries = self.ruleset("list", "ruleset")
        for entry in entries:
            for body in entry.values():
                body.pop("handle", None)
        return entries


@pytest.fixture
def route() -> Iterator[Route]:
    """Three namespaces in a row, and nothing loaded."""
    need.root()
    need.programs("ip", "nft", "sysctl")
    with (
        namespace("client") as client,
        namespace("amphora") as amphora,
        namespace("member") as member,
    ):
        for place in (client, amphora, member):
            # Nobody else is on these links: looking for duplicate addresses would take a second.
            netns.run(*place.command("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"))
        for name, peer in (("eth1", client), ("eth2", member)):
            amphora.ip(
                *("link", "add", name, "type", "veth"),
                *("peer", "name", "net0", "netns", peer.name),
            )
        for place, link, hosts in (
            (client, "net0", CLIENT),
            (amphora, "eth1", VIP_SIDE),
            (amphora, "eth2", MEMBER_SIDE),
            (member, "net0", MEMBER),
        ):
            place.ip("link", "set", link, "up")
            place.add_address(link, IPv4Interface(f"{hosts[4]}/{PREFIX[4]}"))
            place.add_address(link, IPv6Interface(f"{hosts[6]}/{PREFIX[6]}"))
        for version in BOTH:
            client.ip("route", "add", "default", "via", VIP_SIDE[version])
            member.ip("route", "add", "default", "via", MEMBER_SIDE[version])
        for name in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            netns.run(*amphora.command("sysctl", "-qw", f"net.{name}=1"))
        nowhere = Path("/nonexistent")
        context = build_context(
            Settings(amphora_id="a", base_path=nowhere, agent_server_network_dir=nowhere),
            services=SystemdServices(),
            netns=amphora.name,
            config_file=nowhere / "agent.conf",
        )
        yield Route(client=client, amphora=amphora, member=member, context=context)


@pytest.fixture(params=["agent", "lvs-masquerade.sh", "udp-masquerade.sh"])
def change(route: Route, request: pytest.FixtureRequest) -> Change:
    """How an interface is added or deleted: by the agent, or by an operator."""
    program = request.param

    def by_agent(verb: str, name: str, version: int, sriov: bool) -> None:
        if verb == "add":
            firewall.masquerade(route.context, name, {version}, sriov=sriov)
        else:
            firewall.unmasquerade(route.context, name, {version})

    def by_operator(verb: str, name: str, version: int, sriov: bool) -> None:
        arguments = (verb, f"ipv{version}", name, *(("sriov",) if sriov else ()))
        done = operate(route, str(PROGRAMS / program), *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    return by_agent if program == "agent" else by_operator


def operate(route: Route, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the amphora, with this checkout's package."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    return subprocess.run(
        route.amphora.command(program, *arguments),
        env={"PATH": path, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=_DEADLINE_S,
    )


@pytest.mark.parametrize("version", BOTH)
def test_masquerade_hides_the_client_from_the_member(
    route: Route, change: Change, version: int
) -> None:
    """A datagram comes from the amphora while the member's interface is added, and only then."""
    assert route.source_seen(version) == CLIENT[version]
    change("add", "eth2", version, False)
    assert route.source_seen(version) == MEMBER_SIDE[version]
    other = 10 - version
    assert route.source_seen(other) == CLIENT[other]
    change("delete", "eth2", version, False)
    assert route.source_seen(version) == CLIENT[version]


@pytest.mark.parametrize("version", BOTH)
def test_masquerade_is_that_of_one_interface(route: Route, change: Change, version: int) -> None:
    """Adding or deleting another interface changes nothing for the member's."""
    change("add", "eth1", version, False)
    assert route.source_seen(version) == CLIENT[version]
    change("add", "eth2", version, False)
    change("delete", "eth1", version, False)
    assert route.source_seen(version) == MEMBER_SIDE[version]


@pytest.mark.parametrize("version", BOTH)
def test_masquerade_tracks_no_tcp_but_that_of_a_virtual_function(
    route: Route, change: Change, version: int
) -> None:
    """TCP is untracked on an added interface, and tracked again once it is added as SR-IOV."""
    assert route.connections(version) == (False, True)
    change("add", "eth2", version, False)
    assert route.connections(version) == (True, False)
    change("add", "eth2", version, True)
    assert route.connections(version) == (False, True)
    assert route.source_seen(version) == MEMBER_SIDE[version]
    change("add", "eth2", version, False)
    change("delete", "eth2", version, False)
    assert route.connections(version) == (False, True)


def test_masquerade_twice_is_as_once(route: Route, change: Change) -> None:
    """A repeated addition, or deletion, leaves the rules that the first one left."""
    change("delete", "eth2", 4, False)
    nothing = route.rules()
    change("add", "eth2", 4, False)
    once = route.rules()
    assert once != nothing
    change("add", "eth2", 4, False)
    assert route.rules() == once
    for _ in range(2):
        change("delete", "eth2", 4, False)
        assert route.rules() == nothing


def test_masquerade_agent_and_operator_make_the_same_rules(route: Route) -> None:
    """What one has added, the other finds done."""
    firewall.masquerade(route.context, "eth2", {4, 6}, sriov=True)
    added = route.rules()
    for version in ("ipv4", "ipv6"):
        operate(route, str(PROGRAMS / "lvs-masquerade.sh"), "add", version, "eth2", "sriov")
    assert route.rules() == added


@pytest.mark.parametrize("arguments", [(), ("add", "ipv4"), ("add", "ipv4", "eth2;")])
def test_masquerade_program_with_wrong_arguments_does_nothing(
    route: Route, arguments: tuple[str, ...]
) -> None:
    """A wrong call is an error with a reason, and nothing is loaded."""
    done = operate(route, str(PROGRAMS / "lvs-masquerade.sh"), *arguments)
    assert done.returncode == 1
    assert "usage" in done.stderr or "Invalid interface name" in done.stderr
    assert "table" not in netns.run(*route.amphora.command("nft", "list", "ruleset"))


def test_masquerade_that_fails_is_logged(route: Route, caplog: pytest.LogCaptureFixture) -> None:
    """What nft refuses is a warning with the interface and nft's words, and no error."""
    netns.run(*route.amphora.command("nft", "add", "table", "ip", "octavia-ipv4"))
    netns.run(
        *route.amphora.command(
            "nft", "add", "map", "ip", "octavia-ipv4", "untracked", "{ type ifname : verdict; }"
        )
    )
    firewall.masquerade(route.context, "eth2", {4}, sriov=False)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "eth2" in record.getMessage()
    assert "nft refuses the rules" in record.getMessage()
    assert route.source_seen(4) == CLIENT[4]


@pytest.mark.parametrize("version", BOTH)
def test_flow_from_before_its_listener_reaches_the_member(
    route: Route, change: Change, version: int
) -> None:
    """A flow that was refused for want of a listener is balanced as soon as there is one.

    What IPVS does with the first packet of a flow, a rule that changes destinations does here. That
    the kernel's own refusal is remembered, and the flow lost, is seen first.
    """
    family = {4: "ip", 6: "ip6"}[version]
    balance = (
        f"table {family} balance {{ chain in {{ type nat hook prerouting priority -100;"
        f" {family} daddr {VIP_SIDE[version]} udp dport 53 dnat to {MEMBER[version]}; }}; }}"
    )

    def reaches_member(early: socket.socket, server: socket.socket) -> bool:
        with pytest.raises(ConnectionRefusedError):
            early.send(b"early") and early.recv(64)
        netns.run(*route.amphora.command("nft", balance))
        try:
            early.send(b"question")
            server.settimeout(_REFUSAL_S)
            return server.recvfrom(64)[0] == b"question"
        except (TimeoutError, ConnectionRefusedError):
            return False
        finally:
            netns.run(*route.amphora.command("nft", "delete", "table", family, "balance"))

    def attempt() -> bool:
        with ExitStack() as closing:
            with route.member.entered():
                server = closing.enter_context(socket.socket(FAMILY[version], socket.SOCK_DGRAM))
            with route.client.entered():
                early = closing.enter_context(socket.socket(FAMILY[version], socket.SOCK_DGRAM))
            server.bind((MEMBER[version], 53))
            early.settimeout(_DEADLINE_S)
            early.connect((VIP_SIDE[version], 53))
            return reaches_member(early, server)

    # The first rule of NAT is what lets the kernel remember connections at all.
    change("add", "eth2", version, False)
    assert not attempt()
    change("add", "eth1", version, False)
    assert attempt()
