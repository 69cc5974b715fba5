# SPDX-License-Identifier: Apache-2.0
"""`amphoractl watch` beside three amphorae that change all the time, and a webhook that fails.

AMPHORA_WATCH_SOAK_S is how long they change (20 s if unset), AMPHORA_SOAK_SEED repeats a run.
"""

import itertools
import os
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import need
from tests.support.heartbeat_haproxy import Haproxy, free_port
from tests.support.heartbeat_lab import KEY, MEMBER, Amphora, end
from tests.support.watched import assert_unbroken
from tests.support.watching import Hook, udp_port, watching

# Half of the time nothing is taken, or nobody learns that it was.
_ANSWERS = (204, 500, 204, None, 204, 503, 204, 302)


class Member:
    """A server that haproxy checks: it listens or does not."""

    def __init__(self, member_id: str) -> None:
        self.member_id = member_id
        self.port = free_port()
        self._server: socket.socket | None = None

    @property
    def is_up(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    def turn(self, *, up: bool) -> None:
        """Have it listen or not."""
        if self._server is not None:
            self._server.close()
        # Nobody takes the connections of haproxy's checks.
        where = ("127.0.0.1", self.port)
        self._server = socket.create_server(where, backlog=4096) if up else None


class Balanced:
    """An amphora with the real sender and the real haproxy, and two members."""

    def __init__(self, number: int, controller: str, stack: ExitStack) -> None:
        self.amphora_id = f"a1b2c3d4-0000-4000-8000-00000000000{number}"
        # haproxy's socket paths are limited to 97 bytes, and pytest's own directories are long.
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="hb-"))
        self.members = [Member(f"{MEMBER}{number}{last}") for last in (1, 2)]
        for member in self.members:
            stack.callback(member.turn, up=False)
        self.amphora = Amphora(Path(directory), stack)
        self.amphora.configure([controller], interval="0.2", amphora_id=self.amphora_id)
        check = "check inter 100ms fall 1 rise 1"
        servers = "".join(
            f"    server {member.member_id} 127.0.0.1:{member.port} {check}\n"
            for member in self.members
        )
        self.haproxy = Haproxy(self.amphora.base, number, servers, None)
        stack.callback(self.haproxy.close)
        self.sender = self.amphora.start()


@contextmanager
def balanced(controller: str) -> Iterator[list[Balanced]]:
    """Three of them; all end at the end."""
    need.programs("haproxy")
    with ExitStack() as stack:
        yield [Balanced(number, controller, stack) for number in (1, 2, 3)]


def _let_change(amphorae: list[Balanced], hook: Hook, *, seconds: float) -> None:
    """Flap members and reload haproxies at random, while the webhook answers now so, now so."""
    answers, until_s = itertools.cycle(_ANSWERS), 0.0
    begin_s = time.monotonic()
    while (now_s := time.monotonic()) - begin_s < seconds:
        if now_s >= until_s:
            hook.answer, until_s = next(answers), now_s + random.uniform(0.4, 1.2)
        chosen = random.choice(amphorae)
        if random.random() < 0.1:
            chosen.haproxy.reload()
        else:
            member = random.choice(chosen.members)
            member.turn(up=not member.is_up)
        time.sleep(random.uniform(0.05, 0.4))


def _assert_in_order(took: list[dict[str, Any]]) -> None:
    """Nothing is left out or overtaken; what comes again comes at once."""
    numbers = [0, *(event["number"] for event in took)]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    assert set(steps) <= {0, 1}, numbers


@pytest.mark.slow
def test_webhook_that_fails_half_of_the_time_is_told_every_change(
    tmp_path: Path, record_property: Any
) -> None:
    """Through flaps, reloads, a kill of the watch and failures all is told, in order."""
    length_s = float(os.environ.get("AMPHORA_WATCH_SOAK_S", "20"))
    seed = int(os.environ.get("AMPHORA_SOAK_SEED", time.time_ns() % 1_000_000))
    record_property("seed", seed)
    print(f"AMPHORA_SOAK_SEED={seed}")
    random.seed(seed)
    port, hook = udp_port(), Hook(free_port())
    options = (
        *("--listen", f"127.0.0.1:{port}", "--json", "--silent-after", "3"),
        *("--state", str(tmp_path / "state"), "--webhook", hook.url),
    )
    for part in ("killed", "ended"):
        (tmp_path / part).mkdir()
    with balanced(f"127.0.0.1:{port}") as amphorae:
        hook.up()
        try:
            with watching(tmp_path / "killed", *options, key=KEY) as watch:
                watch.await_ear(port)
                _let_change(amphorae, hook, seconds=length_s / 2)
                watch.kill()
                shown = watch.rows()
            with watching(tmp_path / "ended", *options, key=KEY) as watch:
                watch.await_ear(port)
                _let_change(amphorae, hook, seconds=length_s / 2)
                hook.answer = 204
                now = _settled(amphorae)
                took = hook.await_told(lambda took: now.items() <= _ends(took).items())
                shown += watch.rows()
        finally:
            hook.down()
    _assert_in_order(took)
    assert_unbroken(took, now)
    told = {event["number"]: event for event in took}
    assert all(told[event["number"]] == event for event in shown)
    print(f"{len(told)} changes, {len(took) - len(told)} told again, {hook.asked} requests")
    assert len(told) > length_s


def _settled(amphorae: list[Balanced]) -> dict[str, str | None]:
    """Take down every member of two amphorae, and the third amphora; statuses after that."""
    *living, dying = amphorae
    end(dying.sender)
    now: dict[str, str | None] = {dying.amphora_id: "SILENT"}
    for one in living:
        now[one.amphora_id] = "ALIVE"
        for member in one.members:
            member.turn(up=False)
            now[member.member_id] = "ERROR"
    return now


def _ends(took: list[dict[str, Any]]) -> dict[str, str | None]:
    """The last status of each object."""
    return {event["object_id"]: event["after"] for event in took}
