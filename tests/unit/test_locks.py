# SPDX-License-Identifier: Apache-2.0
"""Requests on one resource wait for each other."""

import threading

import pytest

from amphora_agent.operations.context import Locks
from tests.support import waiting


def wait_until_queued(locks: Locks, resource: str, count: int) -> None:
    """Wait until so many hold or wait for a resource."""
    waiting.until(
        f"{count} in the queue",
        lambda: True if len(locks._queues.get(resource, ())) == count else None,
        deadline_s=10,
        every_s=0.001,
    )


def test_locks_let_in_as_they_came_and_one_at_a_time() -> None:
    """Ten threads that ask for one resource get it in the order in which they asked."""
    locks = Locks()
    order: list[int] = []
    inside: list[int] = []

    def work(number: int) -> None:
        with locks.hold("a"):
            inside.append(number)
            assert inside == [number]
            order.append(number)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    with locks.hold("a"):
        for number, thread in enumerate(threads):
            thread.start()
            wait_until_queued(locks, "a", number + 2)
        assert order == []
    for thread in threads:
        thread.join(timeout=10)
    assert order == list(range(10))


def test_locks_of_other_resources_are_free() -> None:
    """Who holds one resource does not keep others from another."""
    locks = Locks()
    with locks.hold("a"), locks.hold("b"):
        assert set(locks._queues) == {"a", "b"}
    assert locks._queues == {}


def test_locks_are_given_back_by_an_error() -> None:
    """An error inside frees the resource for the next one, and nothing is kept of it."""
    locks = Locks()
    with pytest.raises(KeyError), locks.hold("a"):
        raise KeyError
    with locks.hold("a"):
        pass
    assert locks._queues == {}
