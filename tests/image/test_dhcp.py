# SPDX-License-Identifier: Apache-2.0
"""An amphora on a management network with DHCP: as some sites have it."""

import json
import uuid
from collections.abc import Iterator

import pytest

from tests.support import configdrive, dhcp, lab, waiting
from tests.support import guest as guests
from tests.support.configdrive import DhcpPort
from tests.support.guest import Guest, Hardware, Plan
from tests.support.octavia_driver import Octavia
from tests.support.ssh import RemoteError

BOOT_DEADLINE_S = 400


@pytest.fixture(scope="module")
def guest(
    plan: Plan, hardware: Hardware, controller: Octavia, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    """An amphora that only DHCP gives an address."""
    directory = tmp_path_factory.mktemp("dhcp")
    mac, mtu = guests.MGMT_NIC.mac, guests.MGMT_NIC.mtu
    port = DhcpPort(port_id=uuid.uuid4(), network_id=uuid.uuid4(), mac=mac, mtu=mtu)
    server_pem = plan.pki.amphora_pem(plan.amphora.id)
    iso = directory / "drive.iso"
    configdrive.write_iso(plan.drive(controller, server_pem=server_pem, port=port), iso)
    with (
        dhcp.server(
            plan.networks.namespace,
            lab.MGMT_BRIDGE,
            network=lab.MGMT,
            router=plan.networks.controller,
            lease=(mac, plan.amphora.management_address),
            directory=directory,
        ),
        guests.boot(plan, hardware, config_drive=iso) as booted,
    ):
        yield booted


def test_amphora_answers_at_its_leased_address(guest: Guest) -> None:
    """The agent answers at the address that the DHCP server gave."""
    guest.wait_for_answer(deadline_s=BOOT_DEADLINE_S)


def test_lease_brings_a_route_and_leaves_the_rest(guest: Guest) -> None:
    """The lease brings the default route; name, resolver and MTU stay as they were set."""
    guest.wait_for_shell(deadline_s=BOOT_DEADLINE_S)
    [route] = json.loads(guest.shell.run("ip -json route show default"))
    assert route["gateway"] == str(guest.plan.networks.controller)
    [link] = json.loads(guest.shell.run(f"ip -json link show dev {route['dev']}"))
    assert link["mtu"] == lab.MTU
    assert guest.shell.run("hostname").strip() == guest.plan.name
    assert "nameserver" not in guest.shell.run("cat /etc/resolv.conf")


def test_kernel_that_panics_boots_again(guest: Guest) -> None:
    """A fault of the kernel is no end: the amphora boots by itself, and has its lease again."""
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    before = guest.shell.run(boot_id)
    # After the end of this ssh, which would otherwise wait for an answer.
    guest.shell.run("(sleep 1; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 < /dev/null &")

    def booted() -> bool | None:
        try:
            return guest.shell.run(boot_id) != before or None
        except RemoteError:
            return None

    waiting.until("another boot", booted, deadline_s=BOOT_DEADLINE_S, every_s=1)
    guest.wait_for_answer(deadline_s=BOOT_DEADLINE_S)
