# SPDX-License-Identifier: Apache-2.0
"""`amphoractl amphora` on the image: its own journal, units and files."""

import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.balancer.redact import HIDDEN
from tests.image.conftest import HEARTBEAT_KEY
from tests.support import amphoractl, guest
from tests.support.amphoractl import Said
from tests.support.container import Container
from tests.support.guest import Plan
from tests.support.yard import Yard


@pytest.fixture(scope="module")
def amphora(
    plan: Plan, yard: Yard, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """An amphora as it boots."""
    with yard.boot(plan, tmp_path_factory.mktemp("amphoractl")) as booted:
        yield booted


@pytest.fixture(autouse=True)
def files(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A controller's certificates."""
    monkeypatch.setenv("AMPHORA_CA_PASSPHRASE", amphoractl.PASSPHRASE)
    return amphoractl.controller_files(plan.pki, tmp_path / "certs").directory


def ask(plan: Plan, files: Path, command: str, *arguments: str) -> Said:
    """Run one command of `amphoractl amphora` on the amphora."""
    address = str(plan.amphora.management_address)
    words = [*command.split(), *arguments, address, "--id", str(plan.amphora.id)]
    return amphoractl.run(plan.networks.namespace, "amphora", *words, "-d", str(files))


def test_log_has_what_was_just_logged(amphora: Container, plan: Plan, files: Path) -> None:
    """A line that a program of the amphora logs is among the last ones; others are left out."""
    word = secrets.token_hex(8)
    amphora.run(f"logger -t something {word}; sleep 0.2")
    said = ask(plan, files, "log", "--lines", "50")
    assert said.status == 0, said.err
    assert word in said.out
    assert said.out.count("\n") == 50


def test_configuration_is_read_and_written(
    amphora: Container, plan: Plan, files: Path, tmp_path: Path
) -> None:
    """What Octavia injected is read without its key, refused without it, and taken with it."""
    stored = amphora.run(f"cat {guest.AGENT_CONFIG}")
    shown = ask(plan, files, "config get")
    assert shown.out == stored.replace(HEARTBEAT_KEY, HIDDEN)
    path = tmp_path / "agent.conf"
    path.write_text(shown.out)
    assert ask(plan, files, "config put", str(path)).status == 3
    path.write_text(stored + "\n[DEFAULT]\ndebug = True\n")
    assert ask(plan, files, "config put", str(path)).status == 0
    assert amphora.run(f"cat {guest.AGENT_CONFIG}") == path.read_text()


def test_rotate_restarts_nothing(amphora: Container, plan: Plan, files: Path) -> None:
    """The certificate is another one, and the process that serves is the same."""
    main_pid = "systemctl show --value --property=MainPID amphora-agent"
    before = amphora.run(main_pid), amphora.run(f"cat {guest.SERVER_PEM}")
    said = ask(plan, files, "rotate")
    assert said.status == 0, said.err
    after = amphora.run(main_pid), amphora.run(f"cat {guest.SERVER_PEM}")
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.usefixtures("amphora")
def test_bundle_has_no_secret(plan: Plan, files: Path, tmp_path: Path) -> None:
    """Neither the key of heartbeats nor that of the certificate is in what was saved."""
    path = tmp_path / "bundle.tar.gz"
    assert ask(plan, files, "bundle", "-o", str(path)).status == 0
    with tarfile.open(path) as archive:
        names = set(archive.getnames())
        for member in archive:
            stream = archive.extractfile(member)
            assert stream is not None
            content = stream.read()
            assert HEARTBEAT_KEY.encode() not in content, member.name
            assert b"PRIVATE KEY" not in content, member.name
    assert {"amphora/system/journal.txt", "amphora/system/units.txt"} <= names
