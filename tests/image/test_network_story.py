# SPDX-License-Identifier: Apache-2.0
"""The network inside an amphora: TCP and UDP through one VIP, a member that dies, a hard reset.

One boot of the image, driven by Octavia's own driver. What the host's kernel lacks, IPVS, is here.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest

from tests.support import configdrive, lab
from tests.support import guest as guests
from tests.support.balancer import HealthMonitor, Listener, LoadBalancer, Member, Pool, VipPort
from tests.support.guest import Guest, Hardware, Plan
from tests.support.http_member import fetch, http_member
from tests.support.measurements import Measurements
from tests.support.octavia_driver import Octavia
from tests.support.udp_member import ask, udp_member
from tests.support.waiting import until

BOOT_DEADLINE_S = 400
STEP_DEADLINE_S = 90
UDP_PORT = 5300

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
    """Two machines that answer HTTP and UDP; the second one's UDP can be taken away."""

    one: Member
    two: Member
    second_udp: ExitStack


@pytest.fixture(scope="module")
def members(plan: Plan) -> Iterator[Members]:
    inside = plan.networks.namespace
    one, two = plan.networks.add_member_address(21), plan.networks.add_member_address(22)
    with ExitStack() as running, ExitStack() as second_udp:
        running.enter_context(http_member(inside, "one", one))
        running.enter_context(http_member(inside, "two", two))
        running.enter_context(udp_member(inside, "one", one, UDP_PORT))
        second_udp.enter_context(udp_member(inside, "two", two, UDP_PORT))
        yield Members(
            one=Member(address=one, port=UDP_PORT),
            two=Member(address=two, port=UDP_PORT),
            second_udp=second_udp,
        )


@pytest.fixture(scope="module")
def balancer(plan: Plan, members: Members) -> LoadBalancer:
    """One HTTP listener and one for UDP, whose members are probed."""
    http = Pool(members=tuple(replace(item, port=80) for item in (members.one, members.two)))
    udp = Pool(
        protocol="UDP",
        members=(members.one, members.two),
        monitor=HealthMonitor(type="UDP-CONNECT", delay=4, timeout=3),
    )
    return LoadBalancer(
        vip=lab.VIP[5],
        amphora=plan.amphora,
        listeners=(
            Listener(port=80, pool=http),
            Listener(port=UDP_PORT, protocol="UDP", pool=udp),
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


def table(guest: Guest) -> str:
    """What IPVS balances."""
    return guest.shell.run("ip netns exec amphora-haproxy ipvsadm --list --numeric")


def addresses(guest: Guest) -> set[str]:
    """Addresses of eth1 that others can reach."""
    shown = guest.shell.run("ip -netns amphora-haproxy -json address show dev eth1 scope global")
    # What the filter leaves out is an empty object.
    return {
        item["local"] for link in json.loads(shown) for item in link.get("addr_info", []) if item
    }


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


def test_dead_udp_member_is_left_out(
    guest: Guest, members: Members, balancer: LoadBalancer
) -> None:
    """A member whose port is closed fails its probes, and every datagram is answered again."""
    members.second_udp.close()
    gone = f"{members.two.address}:{UDP_PORT}"
    until(
        "IPVS without the dead member",
        lambda: gone not in table(guest) or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )
    assert udp_answers(guest, balancer) == {"one"}


def test_reload_brings_back_what_was_left_out(
    guest: Guest, members: Members, controller: Octavia, balancer: LoadBalancer
) -> None:
    """The member that answers again is asked again, whatever the reload found."""
    inside = guest.plan.networks.namespace
    members.second_udp.enter_context(udp_member(inside, "two", members.two.address, UDP_PORT))
    controller.update(balancer)
    until(
        "answers of both members",
        lambda: udp_answers(guest, balancer) == {"one", "two"} or None,
        deadline_s=STEP_DEADLINE_S,
        every_s=0.5,
    )


def test_traffic_returns_after_a_reset(
    guest: Guest, controller: Octavia, balancer: LoadBalancer, figures: Measurements
) -> None:
    """The reset button is pressed; TCP and UDP are back, and the controller has called nobody."""
    before = len(controller.exchanges())
    kept = addresses(guest)
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
    assert controller.exchanges()[before:] == []
    guest.wait_for_shell(deadline_s=BOOT_DEADLINE_S)
    assert addresses(guest) == kept
    assert guest.shell.run("systemctl --failed --plain --no-legend") == ""


def test_deleted_udp_listener_leaves_the_other(
    guest: Guest, controller: Octavia, balancer: LoadBalancer
) -> None:
    """Without its listener IPVS is empty, and HTTP goes on."""
    [_http, udp] = balancer.listeners
    controller.delete(balancer, udp.id)
    assert str(balancer.vip) not in table(guest)
    assert http_answers(guest, balancer) == ["one", "one", "two", "two"]
