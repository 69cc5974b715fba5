# SPDX-License-Identifier: Apache-2.0
"""Writes that survive a crash: in which order the kernel is asked, and what a failure leaves."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from amphora_agent.system import files
from tests.support import need

_WATCHED = {os.open: "open", os.fsync: "fsync", os.replace: "replace", os.fchmod: "fchmod"}


@contextmanager
def watched() -> Iterator[list[str]]:
    """Adds the calls that make a write durable, in their order; nothing is replaced."""
    calls: list[str] = []

    def note(_frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and (name := _WATCHED.get(called)):
            calls.append(name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def test_write_is_on_the_disk_before_it_has_its_name(tmp_path: Path) -> None:
    """The content is synchronised before the rename, and the directory after it."""
    path = tmp_path / "server.pem"
    path.write_bytes(b"old")
    with watched() as calls:
        files.write_atomic(path, b"new", mode=0o600)
    # The mode comes before the content, which may be a secret; the directory is opened last.
    assert calls == ["open", "fchmod", "fsync", "replace", "open", "fsync"]
    assert path.read_bytes() == b"new"


def test_watch_sees_a_write_that_is_not_durable(tmp_path: Path) -> None:
    """The watch of the test above is no yes-man: a plain write synchronises nothing."""
    path = tmp_path / "server.pem"
    with watched() as calls:
        path.write_bytes(b"new")
    assert "fsync" not in calls


@pytest.mark.parametrize("change", ["rename", "remove", "remove_tree", "make_directory"])
def test_change_of_names_is_durable(tmp_path: Path, change: str) -> None:
    """A rename, a removal and a new directory end with a synchronised directory."""
    source, target, tree = tmp_path / "source", tmp_path / "target", tmp_path / "tree"
    source.write_bytes(b"content")
    tree.mkdir()
    with watched() as calls:
        if change == "rename":
            files.rename(source, target)
        elif change == "remove":
            files.remove(source)
        elif change == "remove_tree":
            files.remove_tree(tree)
        else:
            files.make_directory(target)
    assert calls[-2:] == ["open", "fsync"]


def test_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """When the new file cannot take the old one's place, that stays, and nothing is beside it."""
    path = tmp_path / "in-the-way"
    path.mkdir()
    (path / "kept").write_bytes(b"kept")
    with pytest.raises(OSError, match="in-the-way"):
        files.write_atomic(path, b"new", mode=0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in-the-way"]
    assert (path / "kept").read_bytes() == b"kept"


def test_write_for_an_owner_is_all_or_nothing(tmp_path: Path) -> None:
    """A file has its owner from the beginning; one that cannot be given away is not replaced."""
    need.root()
    need.programs("unshare")
    path = tmp_path / "file"
    files.write_atomic(path, b"old", mode=0o640, owner=(12, 34))
    before = path.stat()
    assert (before.st_uid, before.st_gid, stat.S_IMODE(before.st_mode)) == (12, 34, 0o640)
    # In a user namespace that knows root alone, nobody else can be given anything.
    script = (
        "import sys; from pathlib import Path; from amphora_agent.system import files\n"
        "files.write_atomic(Path(sys.argv[1]), b'new', mode=0o640, owner=(12, 34))"
    )
    tmp_path.chmod(0o777)
    refused = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", script, path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "OSError" in refused.stderr
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_write_of_the_same_content_touches_nothing(tmp_path: Path) -> None:
    """A file that has the content is left alone; a wrong mode, or other content, is put right."""
    path = tmp_path / "check_script.sh"
    files.write_if_different(path, b"one", mode=0o755)
    first = path.stat().st_ino
    files.write_if_different(path, b"one", mode=0o755)
    assert path.stat().st_ino == first
    path.chmod(0o644)
    files.write_if_different(path, b"one", mode=0o755)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    files.write_if_different(path, b"two", mode=0o755)
    assert path.read_bytes() == b"two"
