# SPDX-License-Identifier: Apache-2.0
"""Announcements of addresses, as the network at the other end of the VIP's NIC sees them.

A frame of the test's own, sent after the request was answered, ends each look at the network: what
an announcement has not sent by then, it does not send at once.
"""

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import pytest

from amphora_agent import announce, settings
from amphora_agent.errors import AgentError
from amphora_agent.operations import announcements
from amphora_agent.operations.context import Context
from amphora_agent.system.announcer import PacketAnnouncer
from amphora_agent.system.services import SystemdServices
from amphora_agent.wiring import build_context
from tests.functional.conftest import NIC_MAC, Place
from tests.functional.haproxy_configs import listener_config
from tests.functional.keepalived_configs import lvs_config
from tests.functional.test_agent_plug import VIP, plug
from tests.support import need, netns, waiting
from tests.support.mutual_tls import Client
from tests.support.netns import Namespace

LB = str(uuid.UUID("66666666-0000-4000-8000-000000000006"))
LISTENER = str(uuid.UUID("66666666-0000-4000-8000-000000000007"))
SIX = "2001:db8::9"
EXTRA = {"ip_address": SIX, "subnet_cidr": "2001:db8::/64"}
NIC = bytes.fromhex(NIC_MAC.replace(":", ""))
ARP = announce.gratuitous_arp(NIC, IPv4Address(VIP))
ADVERTISEMENT = announce.unsolicited_advertisement(NIC, IPv6Address(SIX))
# Not one of the announcements' own builders: what a broken one makes would be expected, too.
SENT_BY_HAND = bytes.fromhex(
    "ffffffffffff0200000000010806000108000604000102000000 0001c63364090000000000 00c6336409"
)
_ETH_P_ALL = 3
# An ethertype for experiments (IEEE 802, local experimental 1)
_MARK = bytes.fromhex("ffffffffffff 020000000001 88b5") + b"end of the look" + bytes(31)
_DEADLINE_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Look:
    """Frames that come out of the amphora's NIC."""

    inner: Namespace
    socket: socket.socket

    def frames(self) -> list[bytes]:
        """What came since the look began, or since the last call."""
        with self.inner.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as link:
            link.bind(("eth1", 0))
            link.send(_MARK)
        found = []
        while (frame := self.socket.recv(2048)) != _MARK:
            found.append(frame)
        return found


@contextmanager
def looking(place: Place) -> Iterator[Look]:
    """Look at the network from now on, after the repeats of what was announced before."""

    def silence() -> bool | None:
        sockets = netns.run(*place.inner.command("cat", "/proc/net/packet")).splitlines()[1:]
        return None if sockets else True

    waiting.until("announcements to end", silence, deadline_s=_DEADLINE_S, every_s=0.02)
    with (
        place.network.entered(),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as link,
    ):
        link.bind(("net0", _ETH_P_ALL))
        link.settimeout(_DEADLINE_S)
        yield Look(inner=place.inner, socket=link)


def act(controller: Client, object_id: str, action: str) -> None:
    """Start, stop or reload."""
    assert controller.request("PUT", f"/1.0/loadbalancer/{object_id}/{action}").status == 202


def upload(controller: Client, place: Place) -> None:
    """PUT a haproxy configuration."""
    config = listener_config(place.base, LB, vip=VIP, ports={})
    path = f"/1.0/loadbalancer/{place.amphora_id}/{LB}/haproxy"
    assert controller.request("PUT", path, config).status == 202


def test_frame_by_hand_is_the_builders() -> None:
    """What the tests look for is a gratuitous ARP of the VIP, byte by byte."""
    assert ARP == SENT_BY_HAND


def test_vips_are_announced_whenever_haproxy_starts_or_reloads(
    controller: Client, agent: Place
) -> None:
    """Every VIP is announced once haproxy serves it, by its IP version's way, and not at a stop."""
    assert plug(controller, additional_vips=[EXTRA]).status == 202
    upload(controller, agent)
    try:
        # The first one is a start.
        for action in ("reload", "reload", "start"):
            with looking(agent) as look:
                act(controller, LB, action)
                frames = look.frames()
            assert {ARP, ADVERTISEMENT} <= set(frames), action
        with looking(agent) as look:
            act(controller, LB, "stop")
            frames = look.frames()
        assert not {ARP, ADVERTISEMENT} & set(frames)
    finally:
        assert controller.request("DELETE", f"/1.0/listeners/{LB}").status == 200


def test_vips_are_announced_when_keepalived_of_a_listener_restarts(
    controller: Client, agent: Place
) -> None:
    """A UDP listener that starts or reloads is announced as well."""
    need.programs("keepalived")
    assert plug(controller, additional_vips=[EXTRA]).status in {202, 409}
    path = f"/1.0/listeners/{agent.amphora_id}/{LISTENER}/udp_listener"
    config = lvs_config(agent.inner.name, LISTENER)
    assert controller.request("PUT", path, config).status == 200
    try:
        for action in ("start", "reload"):
            with looking(agent) as look:
                act(controller, LISTENER, action)
                frames = look.frames()
            assert {ARP, ADVERTISEMENT} <= set(frames), action
    finally:
        assert controller.request("DELETE", f"/1.0/listeners/{LISTENER}").status == 200


def test_announcement_is_repeated(controller: Client, agent: Place) -> None:
    """Each address is announced three times, in case a switch was not ready for the first one."""
    assert plug(controller, additional_vips=[EXTRA]).status in {202, 409}
    with looking(agent) as look:
        announcements.addresses(context_of(agent), "eth1", [IPv4Address(VIP)])
        seen = 0
        while seen < 3:
            seen += look.socket.recv(2048) == ARP


def context_of(place: Place) -> Context:
    """The agent's hold on a place, for operations without an API."""
    return build_context(
        settings.load(place.config_file),
        services=SystemdServices(),
        netns=place.inner.name,
        config_file=place.config_file,
    )


def test_vip_of_a_pair_is_announced_by_keepalived(fresh_place: Place) -> None:
    """With ACTIVE_STANDBY the agent announces nothing, although the VIP is there."""
    place = fresh_place
    config = place.config_file
    config.write_text(
        f"{config.read_text()}[controller_worker]\nloadbalancer_topology = ACTIVE_STANDBY\n"
    )
    process = place.start()
    try:
        place.await_answer()
        controller = place.client(place.pki.controller)
        assert plug(controller, additional_vips=[EXTRA]).status == 202
        for address in (f"{VIP}/32", f"{SIX}/128"):
            place.inner.ip("address", "add", address, "dev", "eth1")
        upload(controller, place)
        with looking(place) as look:
            act(controller, LB, "start")
            frames = look.frames()
        assert not {ARP, ADVERTISEMENT} & set(frames)
        assert controller.request("DELETE", f"/1.0/listeners/{LB}").status == 200
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)


def test_address_that_is_not_there_is_not_announced(controller: Client, agent: Place) -> None:
    """Of the wanted addresses only those are announced that the interface bears."""
    assert plug(controller).status in {202, 409}
    other = IPv4Address("198.51.100.77")
    with looking(agent) as look:
        announcements.addresses(context_of(agent), "eth1", [other, IPv4Address(VIP)])
        frames = look.frames()
    assert ARP in frames
    assert announce.gratuitous_arp(NIC, other) not in frames


def test_vips_before_a_plug_are_none(fresh_place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Without a VIP there is nothing to announce, nor to complain about."""
    announcements.vips(context_of(fresh_place))
    assert caplog.records == []


def test_announcement_that_fails_is_logged(
    controller: Client, agent: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """A NIC that is down makes a warning, and no error."""
    assert plug(controller).status in {202, 409}
    agent.inner.ip("link", "set", "eth1", "down")
    try:
        announcements.addresses(context_of(agent), "eth1", [IPv4Address(VIP)])
    finally:
        agent.inner.ip("link", "set", "eth1", "up")
    (record,) = caplog.records
    assert (record.levelname, "eth1" in record.getMessage()) == ("WARNING", True)


@pytest.mark.parametrize(("where", "interface"), [("inner", "eth9"), ("nowhere", "eth1")])
def test_announcer_without_its_interface_is_an_error(
    fresh_place: Place, where: str, interface: str
) -> None:
    """An interface, or a namespace, that is not there is told."""
    name = fresh_place.inner.name if where == "inner" else "test-nowhere"
    with pytest.raises(AgentError, match=interface):
        PacketAnnouncer(name).announce(interface, [IPv4Address(VIP)])
