# SPDX-License-Identifier: Apache-2.0
"""A watch's neighbours: an amphora that sends to it, and a web server that it tells."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.heartbeat_haproxy import free_port
from tests.support.watching import Amphora, Hook, udp_port


@pytest.fixture
def port() -> int:
    """Where the watch listens."""
    return udp_port()


@pytest.fixture
def amphora(port: int) -> Iterator[Amphora]:
    """Who sends there."""
    with closing(Amphora(port)) as made:
        yield made


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A web server that is down."""
    made = Hook(free_port())
    yield made
    made.down()
