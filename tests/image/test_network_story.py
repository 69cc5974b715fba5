# SPDX-License-Identifier: Apache-2.0
"""The network inside an amphora: TCP, UDP and SCTP through one VIP, members that die, NICs that go.

One boot of the image, driven by Octavia's own driver. What the host's kernel lacks, IPVS, is here.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

import pytest

from tests.support import configdrive, lab
from tests.support import guest as guests
from tests.support.balancer import (
    HealthMonitor,
    HostRoute,
    Listener,
    LoadBalancer,
    Member,
    MemberPort,
    Pool,
    VipPort,
)
from tests.support.guest import Guest, Hardware, Plan
from tests.support.http_member import fetch, http_member
from tests.support.measurements import Measurements
from tests.support.octavia_driver import Octavia
from tests.support.sctp_member import ask as ask_sctp
from tests.support.sctp_member import sctp_member
from tests.support.ssh import RemoteError
from tests.support.udp_member import ask, flow, udp_member
from tests.support.waiting import until

BOOT_DEADLINE_S = 400
STEP_DEADLINE_S = 90
UDP_PORT = 5300
SCTP_PORT = 36412
# A network behind the one of the members.
FAR = IPv4Network("10.77.0.0/24")

pytestmark = pytest.mark.usefixtures("guest")


@pytest.fixture(scope="module")
def guest(
    plan: Plan, hardware: Hardware, controller: Octavia, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    """The amphora of this story."""
    iso = tmp_path_factory.mktemp("drive") / "drive.iso"
    server_pem = plan.pki.amphora_pem(plan.amphora.id)
    configdrive.write_iso(plan.drive(controller, server_pem=server_pem), iso)
    with guests.boot(plan, hardware, config_drive=iso) as booted:
        yield booted


@dataclass(frozen=True, kw_only=True)
class Members:
    """Machines that answer HTTP, UDP and SCTP; what the second one answers can be taken away.

    Attributes:
        three: answers UDP only, and is in no pool at first.
    """

    one: Member
    two: Member
    three: Member
    second: ExitStack


@pytest.fixture(scope="module")
def members(plan: Plan) -> Iterator[Members]:
    inside = plan.networks.namespace
    with ExitStack() as running, ExitStack() as second:
        one, two, three = (
            running.enter_context(plan.networks.member_address(host)) for host in (21, 22, 23)
        )
        running.enter_context(http_member(inside, "one", one))
        running.enter_context(http_member(inside, "two", two))
        running.enter_context(udp_member(inside, "one", one, UDP_PORT))
        running.enter_context(sctp_member(inside, "one", one, SCTP_PORT))
        running.enter_context(udp_member(inside, "three", three, UDP_PORT))
        second.enter_context(udp_member(inside, "two", two, UDP_PORT))
        second.enter_context(sctp_member(inside, "two", two, SCTP_PORT))
        yield Members(
            one=Member(address=one, port=UDP_PORT),
            two=Member(address=two, port=UDP_PORT),
            three=Member(address=three, port=UDP_PORT),
            second=second,
        )


@pytest.fixture(scope="module")
def balancer(plan: Plan, members: Members) -> LoadBalancer:
    """One HTTP listener, and one for UDP and for SCTP, whose members are probed."""
    http = Pool(members=tuple(replace(item, port=80) for item in (members.one, members.two)))
    udp = Pool(
        protocol="UDP",
        members=(members.one, members.two),
        monitor=HealthMonitor(type="UDP-CONNECT", delay=4, timeout=3),
    )
    sctp = Pool(
        protocol="SCTP",
        members=tuple(replace(item, port=SCTP_PORT) for item in (members.one, members.two)),
        monitor=HealthMonitor(type="SCTP", delay=4, timeout=3),
    )
    return LoadBalancer(
        vip=lab.VIP[5],
        amphora=plan.amphora,
        listeners=(
            Listener(port=80, pool=http),
            Listener(port=UDP_PORT, protocol="UDP", pool=udp),
            Listener(port=SCTP_PORT, protocol="SCTP", pool=sctp),
        ),
    )


def http_answers(guest: Guest, balancer: LoadBalancer) -> list[str]:
    """Who answered each of four HTTP requests."""
    inside = guest.plan.networks.namespace
    return sorted(fetch(inside, balancer.vip, 80).text for _ in range(4))


def udp_answers(guest: Guest, balancer: LoadBalancer) -> set[str | None]:
    """Who answered each of four datagrams."""
    inside = guest.plan.networks.namespace
    return {ask(inside, balancer.vip, UDP_PORT) for _ in range(4)}


def sctp_answers(guest: Guest, balancer: LoadBalancer) -> set[str | None]:
    """Who answered in each of four associations."""
    inside = guest.plan.networks.namespace
    return {ask_sctp(inside, balancer.vip, SCTP_PORT) for _ in range(4)}


def table(guest: Guest) -> str:
    """What IPVS balances."""
    return guest.shell.run("ip netns exec amphora-haproxy ipvsadm --list --numeric")


def await_absence(guest: Guest, member: str) -> None:
    """Wait until IPVS has a member no more."""
    until(
        "IPVS without the dead member",
        lambda: member not in table(guest) or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )


def addresses(guest: Guest, name: str = "eth1") -> set[str]:
    """Addresses of an interface that others can reach."""
    shown = guest.shell.run(f"ip -netns amphora-haproxy -json address show dev {name} scope global")
    # What the filter leaves out is an empty object.
    return {
        item["local"] for link in json.loads(shown) for item in link.get("addr_info", []) if item
    }


def member_nic(guest: Guest) -> tuple[set[str], int, set[str]] | None:
    """Addresses, MTU and routes of eth2; None while it is not there."""
    try:
        found = addresses(guest, "eth2")
        [link] = json.loads(guest.shell.run("ip -netns amphora-haproxy -json link show dev eth2"))
        shown = guest.shell.run("ip -netns amphora-haproxy -json route show dev eth2")
    except RemoteError:
        return None
    return found, link["mtu"], {route["dst"] for route in json.loads(shown)}


def test_vip_is_plugged(
    guest: Guest, controller: Octavia, balancer: LoadBalancer, plan: Plan
) -> None:
    """The VIP's NIC comes after the boot and is plugged by the driver."""
    guest.wait_for_answer(deadline_s=BOOT_DEADLINE_S)
    guest.wait_for_shell(deadline_s=BOOT_DEADLINE_S)
    guest.machine.plug(guests.VIP_NIC)
    port = VipPort(
        mac=guests.VIP_NIC.mac, subnet=lab.VIP, gateway=plan.networks.gateway, mtu=lab.MTU
    )
    controller.post_vip_plug(balancer, port).result(timeout=STEP_DEADLINE_S)
    assert controller.interface(plan.amphora, balancer.vip) == "eth1"


def test_tcp_and_udp_reach_both_members(
    guest: Guest, controller: Octavia, balancer: LoadBalancer
) -> None:
    """One push of the driver, and HTTP as well as datagrams reach both members."""
    controller.update(balancer)
    assert http_answers(guest, balancer) == ["one", "one", "two", "two"]
    until(
        "answers of both members",
        lambda: udp_answers(guest, balancer) == {"one", "two"} or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )


def test_sctp_reaches_both_members(guest: Guest, balancer: LoadBalancer) -> None:
    """Associations through the VIP are taken and answered by both members."""
    until(
        "answers of both members",
        lambda: sctp_answers(guest, balancer) == {"one", "two"} or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )


def test_dead_members_are_left_out(guest: Guest, members: Members, balancer: LoadBalancer) -> None:
    """A member that answers no more fails its probes, and every client is answered again."""
    members.second.close()
    for port in (UDP_PORT, SCTP_PORT):
        await_absence(guest, f"{members.two.address}:{port}")
    assert udp_answers(guest, balancer) == {"one"}
    assert sctp_answers(guest, balancer) == {"one"}


def test_reload_leaves_the_flows_of_others_alone(
    guest: Guest, members: Members, controller: Octavia, balancer: LoadBalancer
) -> None:
    """While members come, come back and go, a flow to another one loses no datagram.

    That the flow would have seen a restart is seen afterwards; it is answered again then.
    """
    inside = guest.plan.networks.namespace
    http, udp, sctp = balancer.listeners
    more = replace(udp.pool, members=(*udp.pool.members, members.three))
    bigger = replace(balancer, listeners=(http, replace(udp, pool=more), sctp))
    with flow(inside, balancer.vip, UDP_PORT) as going:
        # The failed member is still failing when its listener is reloaded for the first time.
        controller.update(bigger)
        members.second.enter_context(udp_member(inside, "two", members.two.address, UDP_PORT))
        members.second.enter_context(sctp_member(inside, "two", members.two.address, SCTP_PORT))
        until(
            "answers of all three members",
            lambda: udp_answers(guest, balancer) == {"one", "two", "three"} or None,
            deadline_s=STEP_DEADLINE_S,
            every_s=0.5,
        )
        controller.update(balancer)
        until(
            "answers of the first two alone",
            lambda: udp_answers(guest, balancer) == {"one", "two"} or None,
            deadline_s=STEP_DEADLINE_S,
            every_s=0.5,
        )
        answers = going.answers()
        assert len(answers) > 20
        assert set(answers) == {"one"}
        guest.shell.run(f"systemctl restart octavia-keepalivedlvs@{udp.id}")
        until(
            "the flow to be answered after a restart",
            lambda: (None in (seen := going.answers()) and seen[-1] is not None) or None,
            deadline_s=STEP_DEADLINE_S,
            every_s=0.5,
        )
    until(
        "SCTP answers of both members",
        lambda: sctp_answers(guest, balancer) == {"one", "two"} or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )


def test_member_nic_that_comes_back_is_as_before(
    guest: Guest, controller: Octavia, balancer: LoadBalancer
) -> None:
    """A NIC that is taken out and put back has its name, addresses and routes, without a call."""
    port = MemberPort(
        mac=guests.MEMBER_NIC.mac,
        subnet=lab.MEMBERS,
        addresses=(lab.MEMBERS[10],),
        gateway=None,
        mtu=lab.MTU,
        host_routes=(HostRoute(destination=FAR, nexthop=lab.MEMBERS[1]),),
    )
    plugged = ({str(lab.MEMBERS[10])}, lab.MTU, {str(lab.MEMBERS), str(FAR)})
    guest.machine.plug(guests.MEMBER_NIC)
    controller.post_network_plug(balancer, port).result(timeout=STEP_DEADLINE_S)
    assert member_nic(guest) == plugged
    before = len(controller.exchanges())
    guest.machine.unplug(guests.MEMBER_NIC, deadline_s=STEP_DEADLINE_S)
    assert member_nic(guest) is None
    guest.machine.plug(guests.MEMBER_NIC)
    until(
        "the NIC to be as before",
        lambda: member_nic(guest) == plugged or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )
    assert controller.exchanges()[before:] == []


def test_traffic_returns_after_a_reset(
    guest: Guest, controller: Octavia, balancer: LoadBalancer, figures: Measurements
) -> None:
    """The reset button is pressed; all is back, and the controller has called nobody."""
    before = len(controller.exchanges())
    kept, member = addresses(guest), member_nic(guest)
    assert member is not None
    assert kept == {str(balancer.vip), str(guest.plan.amphora.vrrp_address)}
    # What is a write of the test, not of the amphora, is on the disk.
    guest.shell.run("sync")
    pressed = guest.machine.age_s
    guest.machine.reset()

    def back() -> bool | None:
        try:
            return http_answers(guest, balancer) == ["one", "one", "two", "two"] or None
        except OSError:
            return None

    until("HTTP through the VIP", back, deadline_s=BOOT_DEADLINE_S, every_s=0.2)
    figures.note("hard reset to traffic again, s", guest.machine.age_s - pressed)
    until(
        "datagrams through the VIP",
        lambda: udp_answers(guest, balancer) == {"one", "two"} or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )
    until(
        "associations through the VIP",
        lambda: sctp_answers(guest, balancer) == {"one", "two"} or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )
    assert controller.exchanges()[before:] == []
    guest.wait_for_shell(deadline_s=BOOT_DEADLINE_S)
    assert addresses(guest) == kept
    assert member_nic(guest) == member
    assert guest.shell.run("systemctl --failed --plain --no-legend") == ""


def test_deleted_udp_listener_leaves_the_others(
    guest: Guest, controller: Octavia, balancer: LoadBalancer
) -> None:
    """IPVS forgets the listener; SCTP and HTTP go on."""
    [_http, udp, _sctp] = balancer.listeners
    controller.delete(balancer, udp.id)
    assert f"{balancer.vip}:{UDP_PORT}" not in table(guest)
    assert sctp_answers(guest, balancer) == {"one", "two"}
    assert http_answers(guest, balancer) == ["one", "one", "two", "two"]
