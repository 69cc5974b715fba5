# SPDX-License-Identifier: Apache-2.0
"""The firewall of an SR-IOV VIP, with the real nft and real packets.

Whether something came in is judged after a fence: an answer of DHCP, sent later on the same wire,
which every rule set lets in.
"""

import dataclasses
import json
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface, ip_network
from pathlib import Path

import pytest

from amphora_agent.errors import AgentError, Refused
from amphora_agent.models import FirewallRule, RuleProtocol
from amphora_agent.operations import firewall
from amphora_agent.operations.context import Context
from amphora_agent.settings import Settings
from amphora_agent.system.nftables import Nftables, NftProgram
from amphora_agent.system.services import SystemdServices
from amphora_agent.wiring import build_context
from tests.support import need, netns, waiting
from tests.support.netns import Namespace, namespace

pytestmark = pytest.mark.netns

# Documentation networks; the near client is in the lower half of its network, the far one not.
AMPHORA = {4: "198.51.100.4", 6: "2001:db8::4"}
NEAR = {4: "198.51.100.1", 6: "2001:db8::1"}
FAR = {4: "198.51.100.129", 6: "2001:db8::8000:0:0:1"}
LOWER_HALF = {4: ip_network("198.51.100.0/25"), 6: ip_network("2001:db8::/65")}
BOTH = (4, 6)
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
# Ports of DHCP, of server and client.
DHCP = {4: (67, 68), 6: (547, 546)}
VRRP = 112
HTTP = 80
_DEADLINE_S = 20.0
# linux/tcp.h, enum tcp_state
_ESTABLISHED = 1
_SYN_SENT = 2


@dataclass(frozen=True, kw_only=True)
class Wire:
    """The amphora's namespace and a network, with the VIP's NIC between them."""

    inner: Namespace
    network: Namespace
    context: Context
    interfaces: Path
    open: ExitStack = field(default_factory=ExitStack)

    @property
    def rules_file(self) -> Path:
        """Where the rules are kept."""
        return self.context.settings.layout.vip_rules

    def listener(self, version: int, port: int, kind: socket.SocketKind) -> socket.socket:
        """A server in the amphora; it is closed at the end of the test."""
        with self.inner.entered():
            server = self.open.enter_context(socket.socket(FAMILY[version], kind))
        server.settimeout(_DEADLINE_S)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((AMPHORA[version], port))
        if kind == socket.SOCK_STREAM:
            server.listen()
        return server

    def client(
        self, source: str, version: int, kind: socket.SocketKind, port: int = 0
    ) -> socket.socket:
        """A client in the network; it is closed at the end of the test."""
        with self.network.entered():
            client = self.open.enter_context(socket.socket(FAMILY[version], kind))
        client.settimeout(_DEADLINE_S)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((source, port))
        return client

    def fence(self, version: int) -> None:
        """Return when everything that was sent before has come in, or has been dropped."""
        server_port, client_port = DHCP[version]
        with ExitStack() as closing:
            server = closing.enter_context(self.listener(version, client_port, socket.SOCK_DGRAM))
            client = closing.enter_context(
                self.client(NEAR[version], version, socket.SOCK_DGRAM, server_port)
            )
            client.sendto(b"fence", (AMPHORA[version], client_port))
            assert server.recv(64) == b"fence"

    def udp_comes_in(self, version: int, port: int, source: str) -> bool:
        """Whether a datagram reaches a server."""
        with ExitStack() as closing:
            server = closing.enter_context(self.listener(version, port, socket.SOCK_DGRAM))
            client = closing.enter_context(self.client(source, version, socket.SOCK_DGRAM))
            client.sendto(b"probe", (AMPHORA[version], port))
            self.fence(version)
            return _has(server, b"probe")

    def vrrp_comes_in(self, version: int, source: str) -> bool:
        """Whether a packet of IP protocol 112 reaches who listens for it."""
        with ExitStack() as closing:
            with self.inner.entered():
                server = closing.enter_context(
                    socket.socket(FAMILY[version], socket.SOCK_RAW, VRRP)
                )
            with self.network.entered():
                client = closing.enter_context(
                    socket.socket(FAMILY[version], socket.SOCK_RAW, VRRP)
                )
            client.bind((source, 0))
            client.sendto(b"probe", (AMPHORA[version], 0))
            self.fence(version)
            return _has(server, b"probe")

    def tcp_comes_in(self, version: int, source: str, *, expected: bool) -> bool:
        """Whether a connection is made; waits for it if it is expected."""
        with ExitStack() as closing:
            client = closing.enter_context(self.client(source, version, socket.SOCK_STREAM))
            client.setblocking(False)
            client.connect_ex((AMPHORA[version], HTTP))
            self.fence(version)

            def state() -> int | None:
                now = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
                return None if expected and now == _SYN_SENT else now

            found = waiting.until("a connection", state, deadline_s=_DEADLINE_S, every_s=0.01)
            return found == _ESTABLISHED

    def plugged(self, *, is_sriov: bool) -> None:
        """Let the VIP's interface file say that the NIC is, or is not, a virtual function."""
        vip = {
            "vip": "198.51.100.9",
            "subnet_cidr": "198.51.100.0/24",
            "gateway": None,
            "mac_address": "02:00:00:00:00:01",
            "is_sriov": is_sriov,
        }
        plug = {"mac_address": vip["mac_address"], "is_sriov": is_sriov, "vip_net_info": vip}
        (self.interfaces / "eth1.json").write_text(json.dumps({"name": "eth1", "plug": plug}))

    def forget(self) -> None:
        """Leave the kernel without rules, as a reboot does."""
        netns.run(*self.inner.command("nft", "flush", "ruleset"))


def _has(server: socket.socket, probe: bytes) -> bool:
    server.setblocking(False)
    try:
        return server.recv(64).endswith(probe)
    except BlockingIOError:
        return False


@pytest.fixture
def wire() -> Iterator[Wire]:
    """The amphora with its NIC plugged, and nothing loaded."""
    need.root()
    need.programs("ip", "nft")
    with (
        tempfile.TemporaryDirectory(prefix="amp-") as directory,
        namespace("inner") as inner,
        namespace("network") as network,
    ):
        inner.ip(
            *("link", "add", "eth1", "type", "veth"),
            *("peer", "name", "net0", "netns", network.name),
        )
        for place, link, hosts in (
            (inner, "eth1", (AMPHORA,)),
            (network, "net0", (NEAR, FAR)),
        ):
            place.ip("link", "set", link, "up")
            for host in hosts:
                place.add_address(link, IPv4Interface(f"{host[4]}/24"))
                place.add_address(link, IPv6Interface(f"{host[6]}/64"))
        base = Path(directory)
        context = build_context(
            Settings(amphora_id="a", base_path=base, agent_server_network_dir=base),
            services=SystemdServices(),
            netns=inner.name,
            config_file=base / "agent.conf",
        )
        made = Wire(inner=inner, network=network, context=context, interfaces=base)
        with made.open:
            yield made


def rule(
    protocol: RuleProtocol, port: int, version: int | None = None, *, host: str | None = None
) -> FirewallRule:
    """A rule for anybody, for the lower half of a network, or for one host."""
    cidr = None if version is None else LOWER_HALF[version]
    return FirewallRule(protocol=protocol, cidr=ip_network(host) if host else cidr, port=port)


@pytest.mark.parametrize("version", BOTH)
def test_firewall_is_closed_without_rules(wire: Wire, version: int) -> None:
    """What came in before does not after an empty list was stored, whatever it is."""
    wire.listener(version, HTTP, socket.SOCK_STREAM)
    assert wire.tcp_comes_in(version, NEAR[version], expected=True)
    assert wire.udp_comes_in(version, 53, NEAR[version])
    assert wire.vrrp_comes_in(version, NEAR[version])
    firewall.store_and_load(wire.context, ())
    assert not wire.tcp_comes_in(version, NEAR[version], expected=False)
    assert not wire.udp_comes_in(version, 53, NEAR[version])
    assert not wire.vrrp_comes_in(version, NEAR[version])


@pytest.mark.parametrize("version", BOTH)
def test_firewall_lets_in_what_the_rules_say(wire: Wire, version: int) -> None:
    """The first list is in force at once: its protocols and ports come in, and no others."""
    wire.listener(version, HTTP, socket.SOCK_STREAM)
    rules = (rule(RuleProtocol.TCP, HTTP), rule(RuleProtocol.UDP, 53), rule(RuleProtocol.SCTP, 9))
    firewall.store_and_load(wire.context, rules)
    assert wire.tcp_comes_in(version, FAR[version], expected=True)
    assert wire.udp_comes_in(version, 53, FAR[version])
    assert not wire.udp_comes_in(version, HTTP, FAR[version])
    assert not wire.vrrp_comes_in(version, FAR[version])
    assert wire.rules_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in wire.interfaces.iterdir()] == ["nftables-vip.rules"]


@pytest.mark.parametrize("version", BOTH)
def test_firewall_looks_at_the_source(wire: Wire, version: int) -> None:
    """A rule with a network lets in who is inside of it, and nobody from outside."""
    wire.listener(version, HTTP, socket.SOCK_STREAM)
    rules = (rule(RuleProtocol.TCP, HTTP, version), rule(RuleProtocol.UDP, 53, version))
    firewall.store_and_load(wire.context, rules)
    assert wire.tcp_comes_in(version, NEAR[version], expected=True)
    assert wire.udp_comes_in(version, 53, NEAR[version])
    assert not wire.tcp_comes_in(version, FAR[version], expected=False)
    assert not wire.udp_comes_in(version, 53, FAR[version])


@pytest.mark.parametrize("version", BOTH)
def test_firewall_takes_everybody_of_one_ip_version(wire: Wire, version: int) -> None:
    """The network of all addresses opens a port for its own IP version only."""
    cidr = ip_network({4: "0.0.0.0/0", 6: "::/0"}[version])
    firewall.store_and_load(
        wire.context, (FirewallRule(protocol=RuleProtocol.UDP, cidr=cidr, port=53),)
    )
    assert [wire.udp_comes_in(each, 53, FAR[each]) for each in BOTH] == [
        version == each for each in BOTH
    ]


@pytest.mark.parametrize("version", BOTH)
def test_firewall_lets_the_other_amphora_in(wire: Wire, version: int) -> None:
    """VRRP comes in from the peer that a rule names, with IPv6 too, and from nobody else."""
    firewall.store_and_load(wire.context, (rule(RuleProtocol.VRRP, VRRP, host=NEAR[version]),))
    assert wire.vrrp_comes_in(version, NEAR[version])
    assert not wire.vrrp_comes_in(version, FAR[version])
    assert not wire.udp_comes_in(version, VRRP, NEAR[version])


@pytest.mark.parametrize("version", BOTH)
def test_firewall_keeps_established_connections(wire: Wire, version: int) -> None:
    """A connection goes on both ways when its rule is taken away, and a new one is not made."""
    server = wire.listener(version, HTTP, socket.SOCK_STREAM)
    firewall.store_and_load(wire.context, (rule(RuleProtocol.TCP, HTTP),))
    client = wire.client(NEAR[version], version, socket.SOCK_STREAM)
    client.connect((AMPHORA[version], HTTP))
    connection = wire.open.enter_context(server.accept()[0])
    connection.settimeout(_DEADLINE_S)
    firewall.store_and_load(wire.context, ())
    assert not wire.tcp_comes_in(version, NEAR[version], expected=False)
    client.sendall(b"question")
    assert connection.recv(64) == b"question"
    connection.sendall(b"answer")
    assert client.recv(64) == b"answer"


@pytest.mark.parametrize("version", BOTH)
def test_firewall_lets_answers_in(wire: Wire, version: int) -> None:
    """What the amphora asks is answered although nothing may come in by itself."""
    firewall.store_and_load(wire.context, ())
    with wire.inner.entered():
        asker = wire.open.enter_context(socket.socket(FAMILY[version], socket.SOCK_DGRAM))
    asker.settimeout(_DEADLINE_S)
    answerer = wire.client(NEAR[version], version, socket.SOCK_DGRAM, 53)
    asker.sendto(b"question", (NEAR[version], 53))
    _, where = answerer.recvfrom(64)
    answerer.sendto(b"answer", where)
    assert asker.recv(64) == b"answer"


def test_firewall_finds_neighbours(wire: Wire) -> None:
    """An IPv6 neighbour that is not known yet is found while the firewall is closed."""
    firewall.store_and_load(wire.context, ())
    wire.network.ip("neighbour", "flush", "dev", "net0")
    wire.inner.ip("neighbour", "flush", "dev", "eth1")
    wire.fence(6)


def test_firewall_takes_no_loopback_address_from_the_wire(wire: Wire) -> None:
    """A packet that claims to come from 127.0.0.1 is dropped although its port is open."""
    firewall.store_and_load(wire.context, (rule(RuleProtocol.UDP, 53),))
    server = wire.listener(4, 53, socket.SOCK_DGRAM)
    # The kernel drops such packets itself unless it is told to take them.
    for setting in ("route_localnet", "accept_local"):
        netns.run(*wire.inner.command("sysctl", "-qw", f"net.ipv4.conf.eth1.{setting}=1"))
    with wire.network.entered():
        raw = wire.open.enter_context(
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        )
    for source, comes_in in (("127.0.0.1", False), (NEAR[4], True)):
        datagram = struct.pack("!HHHH", 1024, 53, 8 + len(b"probe"), 0) + b"probe"
        header = struct.pack(
            "!BBHHHBBH4s4s",
            *(0x45, 0, 20 + len(datagram), 1, 0, 64, socket.IPPROTO_UDP, 0),
            *(socket.inet_aton(source), socket.inet_aton(AMPHORA[4])),
        )
        raw.sendto(header + datagram, (AMPHORA[4], 0))
        wire.fence(4)
        assert _has(server, b"probe") == comes_in


@dataclass(frozen=True)
class Spoiling:
    """Passes every text on with a statement in it that nft does not know."""

    nftables: Nftables

    def load(self, rules: str) -> None:
        """See Nftables."""
        self.nftables.load(f"{rules}nonsense\n")

    def check(self, rules: str) -> None:
        """See Nftables."""
        self.nftables.check(f"{rules}nonsense\n")


def test_firewall_that_nft_refuses_changes_nothing(wire: Wire) -> None:
    """The rules before stay in force and in the file, and the error has nft's words."""
    firewall.store_and_load(wire.context, (rule(RuleProtocol.UDP, 53),))
    before = wire.rules_file.read_bytes()
    spoiled = dataclasses.replace(wire.context, nftables=Spoiling(wire.context.nftables))
    with pytest.raises(Refused) as refused:
        firewall.store_and_load(spoiled, (rule(RuleProtocol.UDP, 54),))
    assert "nonsense" in refused.value.details
    assert refused.value.http_status == 500
    assert wire.rules_file.read_bytes() == before
    assert wire.udp_comes_in(4, 53, NEAR[4])
    assert not wire.udp_comes_in(4, 54, NEAR[4])


def test_firewall_after_a_reboot_is_the_one_before(wire: Wire) -> None:
    """Loading the stored rules again, any number of times, opens what they open and no more."""
    firewall.store_and_load(wire.context, (rule(RuleProtocol.UDP, 53),))
    wire.forget()
    assert wire.udp_comes_in(4, 54, NEAR[4])
    for _ in range(2):
        firewall.load(wire.context)
    assert wire.udp_comes_in(4, 53, NEAR[4])
    assert not wire.udp_comes_in(4, 54, NEAR[4])


@pytest.mark.parametrize("is_sriov", [True, False])
def test_firewall_without_a_list_closes_a_virtual_function_only(
    wire: Wire, *, is_sriov: bool
) -> None:
    """An SR-IOV VIP is closed until its rules come; a NIC that Neutron guards is left alone."""
    wire.plugged(is_sriov=is_sriov)
    firewall.load(wire.context)
    assert wire.udp_comes_in(4, 53, NEAR[4]) != is_sriov
    assert wire.rules_file.exists() == is_sriov


def test_firewall_without_anything_plugged_is_none(wire: Wire) -> None:
    """Before the first plug there is nothing to load, and nothing is."""
    firewall.load(wire.context)
    assert wire.udp_comes_in(4, 53, NEAR[4])
    assert not wire.rules_file.exists()


@pytest.mark.parametrize("stored", [b"nonsense\n", b"\xff\xfe"])
def test_firewall_with_a_broken_file_is_closed(wire: Wire, stored: bytes) -> None:
    """Rules that nft does not take close an SR-IOV VIP, with an error, and are kept for a look."""
    wire.plugged(is_sriov=True)
    wire.rules_file.write_bytes(stored)
    with pytest.raises(Refused):
        firewall.load(wire.context)
    assert not wire.udp_comes_in(4, 53, NEAR[4])
    assert wire.rules_file.read_bytes() == stored
    firewall.store_and_load(wire.context, (rule(RuleProtocol.UDP, 53),))
    assert wire.udp_comes_in(4, 53, NEAR[4])


def test_firewall_leaves_tcp_of_other_nics_to_neutron(wire: Wire) -> None:
    """A member that is reached untracked through another NIC answers; one on the VIP's does not."""
    firewall.store_and_load(wire.context, ())
    wire.inner.ip(
        *("link", "add", "eth2", "type", "veth"),
        *("peer", "name", "net1", "netns", wire.network.name),
    )
    for place, link, address in ((wire.inner, "eth2", 4), (wire.network, "net1", 1)):
        place.ip("link", "set", link, "up")
        place.add_address(link, IPv4Interface(f"192.0.2.{address}/24"))
    for name, host, is_reached in (("eth2", "192.0.2.1", True), ("eth1", NEAR[4], False)):
        firewall.masquerade(wire.context, name, {4}, sriov=False)
        member = wire.client(host, 4, socket.SOCK_STREAM, HTTP)
        member.listen()
        with wire.inner.entered():
            amphora = wire.open.enter_context(socket.socket())
        amphora.setblocking(False)
        amphora.connect_ex((host, HTTP))
        # The answer left before the fence does.
        wire.fence(4)

        def state(amphora: socket.socket = amphora, *, wait: bool = is_reached) -> int | None:
            now = amphora.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            return None if wait and now == _SYN_SENT else now

        found = waiting.until("a connection", state, deadline_s=_DEADLINE_S, every_s=0.01)
        assert (found == _ESTABLISHED) == is_reached


def test_nft_without_a_namespace_is_an_error() -> None:
    """A namespace that is not there is told as such, not as a fault of the rules."""
    need.root()
    with pytest.raises(AgentError, match="no namespace") as error:
        NftProgram("test-nowhere").load("")
    assert not isinstance(error.value, Refused)
