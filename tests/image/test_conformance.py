# SPDX-License-Identifier: Apache-2.0
"""The conformance suite against an amphora that was booted from the image."""

from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.conformance.fixtures import *  # noqa: F403
from tests.conformance.target import Nic, RemoteFiles, Target
from tests.conformance.test_api_0_5 import *  # noqa: F403
from tests.conformance.test_checklist import *  # noqa: F403
from tests.conformance.test_rows import *  # noqa: F403
from tests.conformance.test_rows_files import *  # noqa: F403
from tests.conformance.test_rows_network import *  # noqa: F403
from tests.conformance.test_transport import *  # noqa: F403
from tests.conformance.test_traps import *  # noqa: F403
from tests.support import configdrive, lab
from tests.support import guest as guests
from tests.support.guest import Guest, Hardware, Plan
from tests.support.octavia_driver import Octavia

BOOT_DEADLINE_S = 400


@pytest.fixture(autouse=True)
def earlier_steps() -> None:
    """These tests are no story: one that fails says nothing about the others."""


@pytest.fixture(scope="module")
def guest(
    plan: Plan,
    hardware: Hardware,
    controller: Octavia,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Guest]:
    """An amphora with a NIC for the VIP."""
    iso = tmp_path_factory.mktemp("drive") / "drive.iso"
    server_pem = plan.pki.amphora_pem(plan.amphora.id)
    configdrive.write_iso(plan.drive(controller, server_pem=server_pem), iso)
    with guests.boot(plan, hardware, config_drive=iso) as booted:
        booted.wait_for_answer(deadline_s=BOOT_DEADLINE_S)
        booted.wait_for_shell(deadline_s=BOOT_DEADLINE_S)
        booted.machine.plug(guests.VIP_NIC)
        yield booted


@pytest.fixture(scope="module")
def target(guest: Guest) -> Target:
    """The agent in the amphora."""
    plan = guest.plan
    return Target(
        inside=plan.networks.namespace,
        address=plan.amphora.management_address,
        amphora_id=plan.amphora.id,
        trust=plan.pki.server_chain,
        controller=plan.pki.controller,
        stranger=plan.pki.stranger,
        server_pem=PurePosixPath(guests.SERVER_PEM),
        config_file=PurePosixPath(guests.AGENT_CONFIG),
        files=RemoteFiles(guest.shell),
        mint=lambda: plan.pki.amphora_pem(plan.amphora.id),
        vip_nic=Nic(mac=guests.VIP_NIC.mac, network=lab.VIP),
        keepalived=True,
        ipvs=True,
    )


def test_journal_has_no_traceback(guest: Guest) -> None:
    """After all of the above the agent has not been surprised."""
    assert "Traceback" not in guest.shell.run("journalctl --no-pager --unit amphora-agent")
