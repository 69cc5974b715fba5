# SPDX-License-Identifier: Apache-2.0
"""A program that its socket starts serves each connection in a process, and ends by itself."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.functional.conftest import REPOSITORY

_DEADLINE_S = 20.0
# Answers with its process id, once the client has said something.
_PROGRAM = """
import os, socket
from amphora_agent.system import activation

def handle(connection):
    if connection.recv(1) == b"!":
        raise RuntimeError("on purpose")
    connection.sendall(str(os.getpid()).encode())

with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    activation.serve(listener, handle, idle_s=1.0, most=2, deadline_s=2)
"""


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _PROGRAM],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


@pytest.fixture
def port(program: subprocess.Popen[str]) -> int:
    assert program.stdout is not None
    return int(program.stdout.readline())


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE_S)


def test_each_connection_has_a_process_and_idleness_ends_all(
    program: subprocess.Popen[str], port: int
) -> None:
    """Five questions are answered by five processes; a second after the last the program ends."""
    answers = []
    for _ in range(5):
        with connect(port) as connection:
            connection.sendall(b"?")
            answers.append(connection.recv(100))

    assert len(set(answers)) == 5
    assert str(program.pid).encode() not in answers
    assert program.wait(timeout=_DEADLINE_S) == 0


def test_silent_clients_are_given_up(program: subprocess.Popen[str], port: int) -> None:
    """Two clients that say nothing hold a third one up for the limit of time, and no longer."""
    with connect(port) as first, connect(port) as second, connect(port) as third:
        third.sendall(b"?")
        assert third.recv(100)
        assert (first.recv(100), second.recv(100)) == (b"", b"")
    assert program.wait(timeout=_DEADLINE_S) == 0


def test_failing_process_harms_no_other(program: subprocess.Popen[str], port: int) -> None:
    """An error in one connection's process ends that one alone, and is told."""
    with connect(port) as connection:
        connection.sendall(b"!")
        assert connection.recv(100) == b""
    with connect(port) as connection:
        connection.sendall(b"?")
        assert connection.recv(100).isdigit()
    assert program.wait(timeout=_DEADLINE_S) == 0
    assert program.stderr is not None
    assert program.stderr.read().count("RuntimeError: on purpose") == 1
