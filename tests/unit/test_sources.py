# SPDX-License-Identifier: Apache-2.0
"""What there is to ask is found as soon as it is there, and no longer than it is."""

import os
from pathlib import Path

import pytest

from amphora_agent.layout import Layout
from amphora_agent.sender.sources import Sources
from amphora_agent.system.names import DirectoryNames

LB = "10adba1a-0000-4000-8000-00000000000"
LISTENER = "1157e4e2-0000-4000-8000-00000000000"


@pytest.fixture
def paths(tmp_path: Path) -> Layout:
    """Directories of an amphora that has nothing yet."""
    return Layout(base=tmp_path / "base")


def configure(paths: Layout, lb_id: str) -> Path:
    """The haproxy configuration of a load balancer."""
    path = paths.haproxy_config(lb_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_load_balancers_are_those_with_a_configuration(paths: Layout) -> None:
    """Ids with a haproxy.cfg are found, in order, in every later look; other names never."""
    found = Sources(paths)
    assert found.load_balancers() == []
    configure(paths, f"{LB}2")
    (paths.base / f"{LB}3").mkdir()
    configure(paths, "vrrp")
    assert [found.load_balancers() for _ in range(3)] == [[f"{LB}2"]] * 3
    first = configure(paths, f"{LB}1")
    assert [found.load_balancers() for _ in range(3)] == [[f"{LB}1", f"{LB}2"]] * 3
    # Neither changes the directory above.
    first.unlink()
    configure(paths, f"{LB}3")
    assert found.load_balancers() == [f"{LB}2", f"{LB}3"]


def test_listeners_are_those_with_a_configuration(paths: Layout) -> None:
    """UDP and SCTP listeners come and go with their files."""
    found = Sources(paths)
    assert found.listeners() == []
    paths.lvs_dir.mkdir(parents=True)
    for listener_id in (f"{LISTENER}2", f"{LISTENER}1"):
        paths.lvs_config(listener_id).touch()
    paths.lvs_pids(f"{LISTENER}3")[0].touch()
    assert [found.listeners() for _ in range(3)] == [[f"{LISTENER}1", f"{LISTENER}2"]] * 3
    paths.lvs_config(f"{LISTENER}1").unlink()
    assert found.listeners() == [f"{LISTENER}2"]


def test_names_that_change_within_a_tick_are_found_by_the_next_look(tmp_path: Path) -> None:
    """A change that leaves the directory's time as it is is found, too, if it came at once."""
    names = DirectoryNames(tmp_path)
    (tmp_path / "one").touch()
    before = tmp_path.stat()
    assert names.read() == {"one"}
    (tmp_path / "two").touch()
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert names.read() == {"one", "two"}


def test_names_are_not_read_again_without_a_change(tmp_path: Path) -> None:
    """From the second look at an unchanged directory on the answer is the same object."""
    (tmp_path / "one").touch()
    names = DirectoryNames(tmp_path)
    first = names.read()
    assert all(names.read() is first for _ in range(3))
    with pytest.raises(FileNotFoundError):
        DirectoryNames(tmp_path / "missing").read()
