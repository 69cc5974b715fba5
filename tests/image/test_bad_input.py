# SPDX-License-Identifier: Apache-2.0
"""An amphora that is given nothing, then something broken, then what it needs.

It has to say on the console which file it waits for, and to start by itself once that file is good.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import configdrive
from tests.support import guest as guests
from tests.support.guest import Guest, Hardware, Plan
from tests.support.octavia_driver import Octavia

BOOT_DEADLINE_S = 400
STEP_DEADLINE_S = 120

BROKEN_PEM = b"-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def guest(plan: Plan, hardware: Hardware) -> Iterator[Guest]:
    """An amphora whose config drive is missing at power-on."""
    with guests.boot(plan, hardware, config_drive=None) as booted:
        yield booted


def test_missing_config_drive_is_told_on_the_console(guest: Guest) -> None:
    """Without a config drive the console names it, and the file that the agent waits for."""
    guest.machine.wait_for_console(
        f"amphora-agent waits: {guests.AGENT_CONFIG}", deadline_s=BOOT_DEADLINE_S
    )
    assert "no config drive" in guest.machine.console()


def test_late_config_drive_is_taken(guest: Guest, controller: Octavia, tmp_path: Path) -> None:
    """A drive that comes later is applied; its broken certificate is named on the console."""
    iso = tmp_path / "drive.iso"
    configdrive.write_iso(guest.plan.drive(controller, server_pem=BROKEN_PEM), iso)
    guest.machine.insert_config_drive(iso)
    guest.wait_for_shell(deadline_s=STEP_DEADLINE_S)
    assert guest.shell.run("hostname").strip() == guest.plan.name
    guest.machine.wait_for_console(
        f"amphora-agent waits: {guests.SERVER_PEM}", deadline_s=STEP_DEADLINE_S
    )
    with pytest.raises(ConnectionRefusedError):
        guest.plan.client(guest.plan.pki.controller).get("//")


def test_reason_is_in_the_journal(guest: Guest) -> None:
    """The journal of the agent's unit names the same file."""
    journal = guest.shell.run("journalctl --no-pager --unit amphora-agent")
    assert f"amphora-agent waits: {guests.SERVER_PEM}" in journal


def test_agent_starts_once_the_certificate_is_good(guest: Guest) -> None:
    """When the file is replaced the agent answers, without anybody restarting it."""
    pem = guest.plan.pki.amphora_pem(guest.plan.amphora.id)
    guest.shell.run(f"umask 077; cat > {guests.SERVER_PEM}", stdin=pem)
    guest.wait_for_answer(deadline_s=STEP_DEADLINE_S)
    restarts = guest.shell.run("systemctl show --value --property NRestarts amphora-agent")
    assert restarts.strip() == "0"
