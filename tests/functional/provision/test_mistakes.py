# SPDX-License-Identifier: Apache-2.0
"""Mistakes in the input: each is named, and the rest is done."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.functional.provision.drives import (
    CERT,
    GOLDEN,
    INSTANCE_ID,
    META,
    NETWORK,
    NETWORK_DATA,
    RSYSLOG,
    USER_DATA,
    edit_meta,
    run,
    tree,
)

BROKEN = [b"{", b"[]", b"\xff\x00"]


@pytest.mark.parametrize(
    ("name", "content"),
    # Empty user_data is no mistake.
    [(META, b""), (NETWORK_DATA, b"")]
    + [(name, content) for name in (META, NETWORK_DATA, USER_DATA) for content in BROKEN],
)
def test_broken_document_is_named_and_the_rest_is_done(
    name: str, content: bytes, root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One error line names the document; what the others say is still applied."""
    (drive / name).write_bytes(content)
    assert run(root, drive) == 1
    assert capsys.readouterr().err.startswith(f"error: {name}: ")
    assert (root / CERT).exists() == (name != META)
    assert (root / INSTANCE_ID).exists() == (name != META)
    assert (root / NETWORK).exists() == (name != NETWORK_DATA)


@pytest.mark.parametrize("name", [META, NETWORK_DATA])
def test_missing_document_is_named_and_the_rest_is_done(
    name: str, root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nova writes both; without one of them the other is still applied."""
    (drive / name).unlink()
    assert run(root, drive) == 1
    assert capsys.readouterr().err == f"error: {name} is missing on the config drive\n"
    assert (root / CERT).exists() == (name != META)
    assert (root / NETWORK).exists() == (name != NETWORK_DATA)


def test_missing_user_data_is_no_mistake(root: Path, drive: Path) -> None:
    """A server without user data has no such document."""
    (drive / USER_DATA).unlink()
    assert run(root, drive) == 0


@pytest.mark.parametrize("broken", [b"{", b'{"links": [{"id": 7}]}'])
def test_broken_network_data_keeps_the_network_of_the_last_boot(
    broken: bytes, root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """/run is empty after a reboot; the copy on disk gives the network again."""
    run(root, drive)
    golden = (root / NETWORK).read_bytes()
    shutil.rmtree(root / "run")
    (drive / NETWORK_DATA).write_bytes(broken)
    assert run(root, drive) == 1
    assert (root / NETWORK).read_bytes() == golden
    assert "network: as on the last boot" in capsys.readouterr().out


def test_missing_content_is_named_and_the_others_are_written(
    root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says which file lacks which content; a repaired drive gives it later."""
    content = drive / "openstack/content/0001"
    content.rename(drive / "kept")
    assert run(root, drive) == 1
    error = f"error: /{RSYSLOG}: its content openstack/content/0001 is missing on the drive\n"
    assert capsys.readouterr().err == error
    assert (root / CERT).exists()

    (root / CERT).write_text("newer")
    (drive / "kept").rename(content)
    assert run(root, drive) == 0
    assert (root / RSYSLOG).exists()
    assert (root / CERT).read_text() == "newer"


@pytest.mark.parametrize("path", ["etc/relative", "/etc/../outside", "/../outside"])
def test_refused_path_is_named_and_the_others_are_written(
    path: str, root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written where the path leads."""
    files = json.loads((drive / META).read_text())["files"]
    edit_meta(drive, files=[{"path": path, "content_path": "/content/0000"}, *files])
    assert run(root, drive) == 1
    assert path in capsys.readouterr().err
    assert tree(root) == tree(GOLDEN / "static-ipv4/tree") | {
        "var/lib/amphora-provision/instance-id": (root / INSTANCE_ID).read_bytes()
    }
    assert list(root.parent.rglob("outside")) == []


def test_unknown_time_zone_is_a_warning_and_means_utc(
    root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The image may lack a zone; that alone does not fail the unit."""
    (drive / USER_DATA).write_text("#cloud-config\ntimezone: Mars/Olympus\n")
    assert run(root, drive) == 0
    assert (root / "etc/localtime").readlink() == Path("../usr/share/zoneinfo/UTC")
    assert "warning: user_data: this image has no time zone Mars/Olympus" in capsys.readouterr().out


def test_keys_without_effect_are_named_in_one_line(
    root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator who expects cloud-init learns what was not done."""
    (drive / USER_DATA).write_text("#cloud-config\npackages: [x]\nbootcmd: [y]\n")
    assert run(root, drive) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "without effect" in line]
    assert lines == [f"{USER_DATA}: without effect here: 'bootcmd', 'packages'"]


def test_secrets_are_not_told(root: Path, drive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No content of a file appears in the journal."""
    edit_meta(drive, admin_pass="hunter2", files="heartbeat_key")
    run(root, drive)
    shown = capsys.readouterr()
    assert "hunter2" not in shown.out + shown.err
    assert "golden" not in shown.out + shown.err


@pytest.mark.parametrize("name", [META, USER_DATA, "openstack/content/0000"])
def test_pipe_in_place_of_a_file_does_not_block_the_boot(
    name: str, root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rock Ridge can hold pipes; reading one would wait for ever."""
    (drive / name).unlink()
    os.mkfifo(drive / name)
    assert run(root, drive) == 1
    assert "is not a regular file" in capsys.readouterr().err


def test_text_of_the_drive_cannot_forge_a_line(
    root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Control characters and half surrogates of a message reach the console as escapes."""
    lost = {"path": "/etc/é", "content_path": "/content/9999"}
    edit_meta(drive, hostname="a\nerror: forged\ud800\x1b[2J", files=[lost])
    assert run(root, drive) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.isascii() and line.isprintable() for line in lines)
