# SPDX-License-Identifier: Apache-2.0
"""`amphoractl watch` as a process: who is told, whatever happens."""

import json
import os
import random
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import waiting, watched
from tests.support.watched import AMPHORA, LISTENER, MEMBERS
from tests.support.watching import DEADLINE_S, REPOSITORY, Amphora, Hook, watching


def test_webhook_that_is_down_is_told_everything_when_it_is_up(
    tmp_path: Path, port: int, amphora: Amphora, hook: Hook
) -> None:
    """Refused first and answered with 500 then, every event arrives, in order."""
    options = ("--listen", f"127.0.0.1:{port}", "--state", str(tmp_path / "state"))
    with watching(tmp_path, *options, "--webhook", hook.url) as watch:
        watch.await_ear(port)
        amphora.beat("UP", "UP")
        amphora.beat("DOWN", "UP")
        watch.await_text("webhook: 2 events wait; 127.0.0.1: [Errno 111] Connection refused")
        hook.answer = 500
        hook.up()
        waiting.until("500", lambda: hook.asked or None, deadline_s=DEADLINE_S, every_s=0.05)
        amphora.beat("DOWN", "DOWN")
        hook.answer = 204
        told = hook.await_told(lambda took: len(took) >= 3)
        assert [event["number"] for event in told] == [1, 2, 3]
        watched.assert_unbroken(
            told, {AMPHORA: "ALIVE", MEMBERS[0]: "ERROR", MEMBERS[1]: "ERROR", LISTENER: "ONLINE"}
        )
        assert "secret" not in watch.text() + watch.complaints()


def test_webhook_that_never_answers_does_not_keep_the_watch_from_hearing(
    tmp_path: Path, port: int, amphora: Amphora
) -> None:
    """While the webhook waits for an answer, heartbeats are heard and changes shown."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_S)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        options = ("--listen", f"127.0.0.1:{port}", "--state", str(tmp_path / "state"))
        with watching(tmp_path, *options, "--webhook", url) as watch:
            watch.await_ear(port)
            amphora.beat("UP")
            connection, _ = server.accept()
            with connection:
                amphora.beat("DOWN")
                watch.await_text(f"member {MEMBERS[0]}: ONLINE -> ERROR")
                # It still waits: nothing has come after the request.
                connection.setblocking(False)
                assert b"POST / HTTP/1.1" in connection.recv(65_536)
                with pytest.raises(BlockingIOError):
                    connection.recv(1)


def test_watch_that_is_ended_in_the_middle_tells_it_at_the_next_start(
    tmp_path: Path, port: int, amphora: Amphora, hook: Hook
) -> None:
    """SIGTERM while the webhook waits for an answer ends it soon, with 0, and nothing is lost."""
    options = ("--listen", f"127.0.0.1:{port}", "--state", str(tmp_path / "state"))
    with socket.create_server(("127.0.0.1", hook.port)) as server:
        server.settimeout(DEADLINE_S)
        with watching(tmp_path, *options, "--webhook", hook.url) as watch:
            watch.await_ear(port)
            amphora.beat("UP")
            connection, _ = server.accept()
            with connection:
                amphora.beat("DOWN")
                watch.await_text(f"member {MEMBERS[0]}: ONLINE -> ERROR")
                assert watch.end() == 0
    hook.up()
    with watching(tmp_path, *options, "--webhook", hook.url):
        told = hook.await_told(lambda took: len(took) >= 2)
    watched.assert_unbroken(told, {AMPHORA: "ALIVE", MEMBERS[0]: "ERROR", LISTENER: "ONLINE"})


@pytest.mark.parametrize("seed", range(3))
def test_killed_watch_loses_no_event(
    tmp_path: Path, port: int, amphora: Amphora, hook: Hook, seed: int
) -> None:
    """Killed again and again while members change, the hook up and down: no status is missing."""
    chance = random.Random(seed)
    options = ("--listen", f"127.0.0.1:{port}", "--state", str(tmp_path / "state"))
    words: tuple[str, str] = ("UP", "UP")
    for _ in range(4):
        with watching(tmp_path, *options, "--webhook", hook.url) as watch:
            watch.await_ear(port)
            for _ in range(chance.randrange(5, 40)):
                words = (chance.choice(["UP", "DOWN"]), chance.choice(["UP", "DOWN", "DRAIN"]))
                amphora.beat(*words)
                time.sleep(chance.random() / 100)
            watch.kill()
        hook.down()
        if chance.random() < 0.7:
            hook.up()
    hook.down()
    hook.up()
    last = ("DOWN" if words[0] == "UP" else "UP", "DRAIN" if words[1] != "DRAIN" else "DOWN")
    with watching(tmp_path, *options, "--webhook", hook.url) as watch:
        watch.await_ear(port)
        amphora.beat(*last)
        wanted = {"UP": "ONLINE", "DOWN": "ERROR", "DRAIN": "DRAINING"}

        def has_arrived(took: list[dict[str, object]]) -> bool:
            ends = {str(event["object_id"]): event["after"] for event in took}
            return all(
                ends.get(name) == wanted[word] for name, word in zip(MEMBERS, last, strict=True)
            )

        told = hook.await_told(has_arrived)
    watched.assert_unbroken(told, {AMPHORA: "ALIVE", LISTENER: "ONLINE"})
    assert len(told) > 10


def test_program_gets_the_event_and_is_asked_again_when_it_fails(
    tmp_path: Path, port: int, amphora: Amphora
) -> None:
    """A program that fails twice gets the same event a third time; the next one comes after."""
    program = tmp_path / "alarm"
    program.write_text(
        "#!/bin/sh\n"
        f'echo x >> "{tmp_path}/tries"\n'
        f'[ "$(wc -l < "{tmp_path}/tries")" -gt 2 ] || exit 1\n'
        f'cat >> "{tmp_path}/told"\n'
        f'env > "{tmp_path}/environment"\n'
    )
    program.chmod(0o755)
    options = ("--listen", f"127.0.0.1:{port}", "--state", str(tmp_path / "state"))
    # Without a slash it is no program of PATH either.
    with watching(tmp_path, *options, "--exec", os.path.relpath(program, REPOSITORY)) as watch:
        watch.await_ear(port)
        amphora.beat("UP")
        amphora.beat("DOWN")

        def told() -> list[dict[str, object]] | None:
            with suppress(FileNotFoundError):
                lines = (tmp_path / "told").read_text().splitlines()
                return [json.loads(line) for line in lines] if len(lines) == 2 else None
            return None

        events = waiting.until("the program", told, deadline_s=DEADLINE_S, every_s=0.05)
        assert [event["number"] for event in events] == [1, 2]
        assert len((tmp_path / "tries").read_text().splitlines()) == 4
        assert "exec: 2 events wait" in watch.text()
    names = {line.partition("=")[0] for line in (tmp_path / "environment").read_text().splitlines()}
    assert {"PATH", "LC_ALL"} <= names <= {"PATH", "LC_ALL", "PWD", "OLDPWD", "SHLVL", "_"}
