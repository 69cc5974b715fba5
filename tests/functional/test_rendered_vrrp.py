# SPDX-License-Identifier: Apache-2.0
"""Pairs of the real keepalived with what is rendered for them.

How fast a VIP moves is measured by bench/vrrp_pair; here it only has to move, and to stay.
"""

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.balancer import keepalived
from amphora_agent.layout import Layout
from tests.support import need, waiting
from tests.support.keepalived_documents import Part, decode
from tests.support.vrrp_pair import IDS, Side, document, sides

pytestmark = pytest.mark.slow

FAST: Part = {"version": 3, "advert_interval_ms": 200}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    """Both amphorae, with check scripts that succeed."""
    need.root()
    need.programs("keepalived", "ip")
    with sides(tmp_path) as made:
        for side in made:
            layout = Layout(base=side.directory)
            layout.check_script.parent.mkdir()
            layout.check_script.write_text("#!/bin/sh\nexit 0\n")
            layout.check_script.chmod(0o755)
        yield made


def config(side: Side, amphora_id: str, part: Part) -> str:
    """What is rendered for one side."""
    return keepalived.config(decode(part), amphora_id, "eth1", Layout(base=side.directory))


def start(pair: tuple[Side, Side], part: Part) -> None:
    """Start both, the master first."""
    for side, name in zip(pair, IDS, strict=True):
        side.start(config(side, name, part))
        pair[0].await_vip()
    pair[1].await_log("Entering BACKUP STATE")


def stays(active: Side, standby: Side) -> None:
    """See that nothing changes for more than all timers together."""
    with pytest.raises(waiting.DeadlinePassedError):
        waiting.until(
            "the VIP to move",
            lambda: (standby.has_vip() or not active.has_vip()) or None,
            deadline_s=3,
            every_s=0.1,
        )


@pytest.mark.parametrize(
    "vrrp",
    [{}, FAST, FAST | {"bfd": {"interval_ms": 50, "multiplier": 3}}],
    ids=["one second", "200 ms", "200 ms with BFD"],
)
def test_vip_moves_once_and_is_not_given_back(pair: tuple[Side, Side], vrrp: Part) -> None:
    """The standby takes the VIP of a dead amphora, and keeps it when that one is back."""
    one, two = pair
    part = document(**vrrp)
    start(pair, part)
    if "bfd" in vrrp:
        two.await_log("is UP")
    stays(one, two)
    one.cut()
    two.await_vip()
    one.start(config(one, IDS[0], part))
    one.await_log("Entering BACKUP STATE")
    waiting.until("the old VIP to go", lambda: not one.has_vip() or None, deadline_s=5, every_s=0.1)
    stays(two, one)


def test_bfd_raises_the_priority_of_the_one_that_is_left(pair: tuple[Side, Side]) -> None:
    """The standby has Octavia's priority while it hears the other, and a high one when not."""
    one, two = pair
    start(pair, document(**FAST, bfd={"interval_ms": 50, "multiplier": 3}))
    two.await_log("Changing effective priority from 244 to 90")
    one.await_log("Changing effective priority from 254 to 100")
    one.cut()
    two.await_log("Changing effective priority from 90 to 244")


def test_vip_leaves_where_the_tracked_process_ends(pair: tuple[Side, Side], tmp_path: Path) -> None:
    """Without its haproxy an amphora gives the VIP away, and does not take it back with it."""
    one, two = pair
    # The kernel tells of every process of the machine, and this one has other haproxies.
    programs = [tmp_path / f"hap-{secrets.token_hex(4)}" for _ in pair]
    for program in programs:
        shutil.copy("/bin/sleep", program)
    running = [subprocess.Popen([program, "300"]) for program in programs]
    try:
        for side, name, program in zip(pair, IDS, programs, strict=True):
            text = config(side, name, document(**FAST, track_process=True))
            assert "process haproxy\n" in text
            side.start(text.replace("process haproxy\n", f"process {program.name}\n"))
            one.await_vip()
        two.await_log("Entering BACKUP STATE")
        running[0].kill()
        running[0].wait()
        two.await_vip()
        one.await_log("Entering FAULT STATE")
        running[0] = subprocess.Popen([programs[0], "300"])
        waiting.until(
            "the instance to be up again",
            lambda: one.log.count("Entering BACKUP STATE") > 1 or None,
            deadline_s=10,
            every_s=0.1,
        )
        stays(two, one)
    finally:
        for process in running:
            process.kill()
            process.wait()
