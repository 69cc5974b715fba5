# SPDX-License-Identifier: Apache-2.0
"""What tests of amphora-provision share."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.provision.drives import (
    GOLDEN,
    ZONES,
)

_CLONE_NEWUTS = 0x04000000


@pytest.fixture(autouse=True)
def private_host_name() -> Iterator[None]:
    """A UTS namespace for each test: no fault of ours can rename the tester's machine."""
    if os.geteuid() != 0:
        yield  # then it cannot be renamed anyway
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/uts").open("rb") as home:
        if libc.unshare(_CLONE_NEWUTS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            yield
        finally:
            if libc.setns(home.fileno(), _CLONE_NEWUTS) != 0:
                raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty tree with two time zones."""
    path = tmp_path / "root"
    for zone in ("UTC", "Europe/Zurich"):
        (path / ZONES / zone).parent.mkdir(parents=True, exist_ok=True)
        (path / ZONES / zone).touch()
    return path


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A copy of the drive that an amphora usually gets."""
    return Path(shutil.copytree(GOLDEN / "static-ipv4/drive", tmp_path / "drive"))
