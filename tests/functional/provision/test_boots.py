# SPDX-License-Identifier: Apache-2.0
"""First and later boots from drives, good and bad."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.provision.drives import (
    CASES,
    CERT,
    CONF,
    GOLDEN,
    INSTANCE_ID,
    NETWORK,
    NETWORK_DATA,
    ZONES,
    edit_meta,
    run,
    states,
    tree,
)


@pytest.mark.parametrize("case", CASES)
def test_drive_gives_its_golden_tree(case: str, root: Path) -> None:
    """Exactly the expected files with exactly the expected content."""
    assert run(root, GOLDEN / case / "drive") == 0
    assert tree(root) == tree(GOLDEN / case / "tree")


@pytest.mark.parametrize("case", CASES)
def test_second_run_changes_nothing(case: str, root: Path) -> None:
    """Not one file is replaced or touched by the same drive again."""
    run(root, GOLDEN / case / "drive")
    before = states(root)
    assert run(root, GOLDEN / case / "drive") == 0
    assert states(root) == before


def test_modes_do_not_depend_on_the_umask(root: Path, drive: Path) -> None:
    """Keys and all below /etc/octavia are for their owner alone, directories for everybody."""
    argv = [sys.executable, "-m", "amphora_agent.provision", "--root", str(root)]
    argv += ["--source", str(drive)]
    subprocess.run(argv, check=True, umask=0o077, cwd=Path(__file__).parents[2])
    modes = {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode)
        for path in root.rglob("*")
        if path.is_file() and not path.relative_to(root).is_relative_to(ZONES)
    }
    secret = {"root/.ssh/authorized_keys", str(CONF), str(CERT), "etc/octavia/certs/client_ca.pem"}
    assert {name for name, mode in modes.items() if mode == 0o600} == secret
    assert {mode for name, mode in modes.items() if name not in secret} == {0o644}
    for directory in ("etc", "etc/octavia/certs", "etc/rsyslog.d", "run/systemd/network"):
        assert stat.S_IMODE((root / directory).stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "root/.ssh").stat().st_mode) == 0o700
    assert {path.stat().st_uid for path in root.rglob("*") if path.exists()} == {os.geteuid()}


def test_file_replaced_by_the_controller_survives_a_reboot(root: Path, drive: Path) -> None:
    """A certificate put through the API stays; another instance's drive replaces it."""
    run(root, drive)
    (root / CERT).write_text("newer")
    assert run(root, drive) == 0
    assert (root / CERT).read_text() == "newer"

    edit_meta(drive, uuid="another")
    assert run(root, drive) == 0
    assert (root / CERT).read_bytes() == (drive / "openstack/content/0002").read_bytes()
    assert (root / INSTANCE_ID).read_text() == "another\n"


def test_crash_before_the_end_redoes_all(root: Path, drive: Path) -> None:
    """Without the record, which comes last, files of a half-done first boot are replaced."""
    run(root, drive)
    (root / CERT).write_text("half")
    (root / INSTANCE_ID).unlink()
    run(root, drive)
    assert (root / CERT).read_bytes() == (drive / "openstack/content/0002").read_bytes()


def test_failed_write_is_retried_on_the_next_boot(
    root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk's fault is not recorded as a first boot; the other files are written all the same."""
    (root / CERT).mkdir(parents=True)
    assert run(root, drive) == 1
    assert f"error: /{CERT}: " in capsys.readouterr().err
    assert (root / CONF).exists()
    assert not (root / INSTANCE_ID).exists()

    (root / CERT).rmdir()
    assert run(root, drive) == 0
    assert (root / CERT).is_file()
    assert (root / INSTANCE_ID).exists()


def test_lost_file_comes_back(root: Path, drive: Path) -> None:
    """A later boot writes what is missing, and only that."""
    run(root, drive)
    (root / CERT).unlink()
    (root / CONF).write_text("kept")
    assert run(root, drive) == 0
    assert (root / CERT).exists()
    assert (root / CONF).read_text() == "kept"


def test_network_follows_the_drive_at_every_boot(root: Path, drive: Path) -> None:
    """A new address replaces the old one; files of others in the directory stay."""
    run(root, drive)
    other = root / NETWORK.parent / "20-other.network"
    other.touch()
    text = (drive / NETWORK_DATA).read_text()
    (drive / NETWORK_DATA).write_text(text.replace("fa:16:3e:00:00:01", "fa:16:3e:00:00:99"))
    assert run(root, drive) == 0
    names = sorted(path.name for path in other.parent.iterdir())
    assert names == ["10-amphora-fa163e000099.network", "20-other.network"]


def test_nic_in_the_namespace_is_left_to_it(root: Path) -> None:
    """A drive that lists a hot-plugged NIC does not make networkd take it."""
    plugged = root / "var/lib/octavia/plugged_interfaces"
    plugged.parent.mkdir(parents=True)
    plugged.write_text("FA:16:3e:00:00:03 eth1\n\n")
    assert run(root, GOLDEN / "dual-stack/drive") == 0
    names = {path.name[11:23] for path in (root / NETWORK.parent).iterdir()}
    assert names == {"fa163e000002", "fa163e000004"}


def test_keys_of_others_stay(root: Path, drive: Path) -> None:
    """Lines of the operator stay byte for byte, keys of an old drive go."""
    path = root / "root/.ssh/authorized_keys"
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_bytes(b"ssh-rsa AAAA operator \xff\n")
    run(root, drive)
    assert path.read_bytes().startswith(b"ssh-rsa AAAA operator \xff\n# begin")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    edit_meta(drive, public_keys={})
    run(root, drive)
    assert path.read_bytes() == b"ssh-rsa AAAA operator \xff\n"
