# SPDX-License-Identifier: Apache-2.0
"""A watch that has heard nobody."""

from collections.abc import Iterator

import pytest

from amphora_controller.watch.store import Store
from amphora_controller.watch.watcher import Watcher
from tests.support.watched import KEY, LIMITS


@pytest.fixture
def memory() -> Iterator[Store]:
    """A store in memory."""
    made = Store(None)
    yield made
    made.close()


@pytest.fixture
def watch(memory: Store) -> Watcher:
    """A watch that knows nobody."""
    return Watcher(memory, KEY, LIMITS)
