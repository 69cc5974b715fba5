# SPDX-License-Identifier: Apache-2.0
"""Conversations with real workers of haproxy, and with what might pretend to be one."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amphora_agent.errors import AgentError
from amphora_agent.system.conversation import Conversation, readable
from amphora_agent.system.haproxy_socket import ANSWER_MAX_BYTES
from tests.support import waiting
from tests.support.heartbeat_haproxy import Haproxy, StartHaproxy, hung
from tests.support.heartbeat_lab import DEADLINE_S, LISTENER, Amphora

INFO, STAT = "show info", "show stat -1 1 -1"


@contextmanager
def conversation(path: Path) -> Iterator[Conversation]:
    """One that is closed afterwards."""
    talk = Conversation(path, idle_s=60)
    try:
        yield talk
    finally:
        talk.close()


def answers(talk: Conversation) -> list[str]:
    """Wait for the answers to what was asked."""

    def receive() -> list[str] | None:
        readable([talk.fileno()], timeout_s=0.1)
        return talk.receive()

    return waiting.until("the answers", receive, deadline_s=DEADLINE_S, every_s=0)


def ask_again(talk: Conversation) -> list[str]:
    """One more question and its answer."""
    talk.ask(INFO)
    return answers(talk)


def await_end(worker: int) -> None:
    """Wait until a worker has gone."""
    waiting.until(
        f"the end of process {worker}",
        lambda: None if Path(f"/proc/{worker}").exists() else True,
        deadline_s=DEADLINE_S,
        every_s=0.05,
    )


@pytest.fixture
def haproxy(start_haproxy: StartHaproxy) -> Haproxy:
    """One with its listener."""
    return start_haproxy(1)


@pytest.fixture
def path(amphora: Amphora, haproxy: Haproxy) -> Path:
    """Its stats socket."""
    return amphora.base / f"{haproxy.lb_id}.sock"


def test_questions_reach_the_same_worker_over_a_reload(haproxy: Haproxy, path: Path) -> None:
    """A replaced worker goes on answering, two questions at once, until the conversation ends."""
    with conversation(path) as talk:
        talk.ask(INFO)
        [before] = answers(talk)
        old = haproxy.replace_worker()
        talk.ask(INFO, STAT)
        info, stat = answers(talk)
        assert f"\nPid: {old}\n" in before
        assert f"\nPid: {old}\n" in info
        assert "\nStopping: 1\n" in info
        assert info.endswith("\n\n")
        assert stat.startswith("# pxname,")
        assert f"\n{LISTENER}1,FRONTEND," in stat
        assert stat.endswith(",\n\n")
        os.kill(old, 0)
    await_end(old)


def test_late_answer_is_passed_over(haproxy: Haproxy, path: Path) -> None:
    """A worker that hung answers what was asked last, with what is true by then."""
    worker = haproxy.await_worker()
    with conversation(path) as talk:
        talk.ask(INFO)
        answers(talk)
        with hung(worker):
            talk.ask(INFO, STAT)
            assert readable([talk.fileno()], timeout_s=0.2) == []
            assert talk.receive() is None
            behind = [talk.is_behind]
            talk.ask(STAT)
            behind.append(talk.is_behind)
        [stat] = answers(talk)
        behind.append(talk.is_behind)
        assert stat.startswith("# pxname,")
        # One that came between two questions is passed over as well.
        talk.ask(INFO, STAT)
        readable([talk.fileno()], timeout_s=DEADLINE_S)
        haproxy.serve(1)
        talk.ask(STAT)
        behind.append(talk.is_behind)
        [stat] = answers(talk)
        row = next(line for line in stat.splitlines() if line.startswith(f"{LISTENER}1,FRONTEND,"))
        assert row.split(",")[7] == "1"
        assert behind == [False, True, False, False]


def test_dead_worker_is_an_error(haproxy: Haproxy, path: Path) -> None:
    """A killed haproxy and a missing socket each raise AgentError that names the socket."""
    with conversation(path) as talk:
        talk.ask(INFO)
        answers(talk)
        haproxy.kill()
        with pytest.raises(AgentError, match=re.escape(f"cannot be asked on {path}")):
            ask_again(talk)
    with pytest.raises(AgentError, match=r"cannot be asked on .*missing"):
        Conversation(path.with_name("missing"), idle_s=60)


@contextmanager
def pretended(path: Path) -> Iterator[tuple[Conversation, socket.socket]]:
    """A conversation that has begun, and its other end, which is not haproxy."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with conversation(path) as talk:
            talk.ask(INFO, STAT)
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"\n> \n> ")
                assert talk.receive() is None
                yield talk, peer


def test_prompt_in_a_last_answer_is_text(tmp_path: Path) -> None:
    """What looks like a prompt inside the last answer neither ends it nor divides it."""
    with pretended(tmp_path / "s") as (talk, peer):
        peer.sendall(b"a\n\n> b\n> c\n")
        assert talk.receive() is None
        peer.sendall(b"d\n\n> ")
        assert talk.receive() == ["a\n\n", "b\n> c\nd\n\n"]


def test_endless_answer_ends_at_the_limit(tmp_path: Path) -> None:
    """More than the limit is an error, and not the end of the memory; just below it is none."""
    chunk = b"x" * 2**16
    with pretended(tmp_path / "s") as (talk, peer):
        for _ in range(ANSWER_MAX_BYTES // len(chunk)):
            peer.sendall(chunk)
            assert talk.receive() is None
        peer.sendall(b"x")
        with pytest.raises(AgentError, match="too much"):
            talk.receive()
