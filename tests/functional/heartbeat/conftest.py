# SPDX-License-Identifier: Apache-2.0
"""What the tests of the heartbeat sender share; the parts are in tests/support/heartbeat_lab.py."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import need
from tests.support.heartbeat_haproxy import Haproxy, StartHaproxy
from tests.support.heartbeat_lab import (
    DEADLINE_S,
    OPENER,
    PYTHON_VARIABLE,
    Amphora,
    Opener,
    health_manager,
)
from tests.support.heartbeats import Listener


@pytest.fixture(scope="session")
def octavia() -> Iterator[Opener]:
    """Octavia as the judge."""
    python = os.environ.get(PYTHON_VARIABLE, "")
    if not Path(python).is_file():
        need.missing(f"{PYTHON_VARIABLE} names no interpreter with Octavia; ./test.sh makes one")
    with subprocess.Popen(
        [python, "-c", OPENER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield Opener(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=DEADLINE_S)


@pytest.fixture
def amphora() -> Iterator[Amphora]:
    """An amphora without load balancers; nothing of it is left afterwards."""
    with (
        # haproxy's socket paths are limited to 97 bytes, and pytest's own directories are long.
        tempfile.TemporaryDirectory(prefix="hb-") as directory,
        ExitStack() as stack,
    ):
        made = Amphora(Path(directory), stack)
        yield made
        stack.close()
        assert "Traceback" not in made.journal()


@pytest.fixture
def manager() -> Iterator[tuple[Listener, str]]:
    """A health manager on loopback and its entry in the controller list."""
    with health_manager() as made:
        yield made


@pytest.fixture
def start_haproxy(amphora: Amphora) -> Iterator[StartHaproxy]:
    """Starts the haproxy of a load balancer with this number; all end with the test."""
    need.programs("haproxy")
    with ExitStack() as stack:

        def start(
            number: int, servers: str | None = None, *, tcp_member: int | None = None
        ) -> Haproxy:
            made = Haproxy(amphora.base, number, servers, tcp_member)
            stack.callback(made.close)
            return made

        yield start
