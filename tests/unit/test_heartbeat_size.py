# SPDX-License-Identifier: Apache-2.0
"""Heartbeats that are too large: what is left out, and that listeners never are."""

import itertools
import random
import uuid
from collections import Counter

import pytest

from amphora_agent.heartbeat import message as messages
from amphora_agent.heartbeat import size
from amphora_agent.heartbeat.message import Message, PoolEntry
from tests.support.heartbeat_samples import LISTENER, POOL, large_message, opened


def mixed_message(members: int) -> Message:
    """Two listeners share a pool whose members are in every state; ids are the same in each run."""
    made = random.Random(1)
    words = ("UP", "DOWN", "MAINT", "no check", "DRAIN", "UP 1/3")
    pool: PoolEntry = {
        "status": "UP",
        "members": {
            str(uuid.UUID(int=made.getrandbits(128))): words[number % len(words)]
            for number in range(members)
        },
    }
    message = large_message(listeners=2, pools=0, members=0)
    message["pools"] = {f"{POOL}1:{LISTENER}1": pool, f"{POOL}1:{LISTENER}2": pool}
    return message


def statuses(message: Message) -> Counter[str]:
    """How many members are reported in each status."""
    return Counter(
        status for pool in message["pools"].values() for status in pool["members"].values()
    )


def test_message_that_fits_is_sent_whole() -> None:
    """A message of usual size goes out as it is."""
    message = large_message(listeners=2, pools=2, members=10)
    data, level = size.fit(message, key="k", limit=65_000)
    assert (opened(data, "k"), size.left_out(level)) == (message, "")


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0, {"UP": 20, "DOWN": 20, "MAINT": 20, "no check": 20, "DRAIN": 20, "UP 1/3": 20}),
        (1, {"UP": 10, "DOWN": 10, "MAINT": 10, "no check": 10, "DRAIN": 10, "UP 1/3": 10}),
        (2, {"UP": 10, "DOWN": 10, "no check": 10, "DRAIN": 10, "UP 1/3": 10}),
        (3, {"UP": 10, "DOWN": 10, "DRAIN": 10, "UP 1/3": 10}),
        (11, {"DOWN": 10, "DRAIN": 10}),
        (19, {}),
    ],
)
def test_what_harms_least_is_left_out_first(level: int, expected: dict[str, int]) -> None:
    """Repeats go first, then MAINT, `no check`, members that are well, and the others last."""
    message = mixed_message(60)
    small = size.reduced(message, level)
    assert statuses(small) == expected
    assert small["listeners"] == message["listeners"]
    assert list(small["pools"])[-1] == f"{POOL}1:{LISTENER}2"


def test_last_level_leaves_pools_out_and_no_listener() -> None:
    """Level 20 has every listener and no pool; level 19 has every pool without its members."""
    message = large_message(listeners=100, pools=100, members=40)
    assert size.reduced(message, 20) == {**message, "pools": {}}
    bare = size.reduced(message, 19)
    assert bare["pools"].keys() == message["pools"].keys()
    assert all(pool == {"status": "UP", "members": {}} for pool in bare["pools"].values())


def test_a_higher_level_is_never_larger() -> None:
    """Each level is at most as large as the one before, with a byte or two for the compression."""
    message = mixed_message(600)
    sizes = [len(messages.encode(size.reduced(message, level), key="k")) for level in range(21)]
    assert all(after <= before + 8 for before, after in itertools.pairwise(sizes))
    assert sizes[20] < sizes[19] < sizes[10] < sizes[0]


@pytest.mark.parametrize("members", [1, 10, 55, 200, 1_000, 2_500, 2_900, 5_000, 10_000])
def test_datagram_never_exceeds_the_limit(members: int) -> None:
    """With 1 to 10,000 members the datagram fits, and its listener is in it."""
    message = large_message(listeners=1, pools=1, members=members)
    data, level = size.fit(message, key="k", limit=65_000)
    small = opened(data, "k")
    assert len(data) <= 65_000
    assert small["listeners"] == message["listeners"]
    assert bool(level) is (members > 2_900)


def test_even_listeners_alone_may_be_too_much() -> None:
    """Nothing of the listeners is left out, though the datagram stays too large."""
    message = large_message(listeners=100, pools=1, members=1)
    data, level = size.fit(message, key="k", limit=1_000)
    assert len(data) > 1_000
    assert (level, size.left_out(level)) == (20, "members and pools")
    assert opened(data, "k")["listeners"] == message["listeners"]


def test_members_do_not_come_and_go_at_the_limit() -> None:
    """A message that just fits again stays small; one that fits with room is whole again."""
    message = mixed_message(600)
    whole = len(messages.encode(message, key="k"))
    _data, level = size.fit(message, key="k", limit=whole - 1)
    assert level == 1
    assert size.fit(message, key="k", limit=whole, level=level)[1] == 1
    assert size.fit(message, key="k", limit=whole + whole // 20, level=level)[1] == 0
    assert size.fit(message, key="k", limit=whole * 2, level=17)[1] == 0


def test_same_members_are_left_out_each_time() -> None:
    """Which members of a level are left out does not depend on their order in the message."""
    message = mixed_message(60)
    turned: Message = {
        **message,
        "pools": {
            key: {"status": pool["status"], "members": dict(reversed(pool["members"].items()))}
            for key, pool in message["pools"].items()
        },
    }
    assert size.reduced(turned, 8) == size.reduced(message, 8)


def test_version_1_loses_members_inside_its_listeners() -> None:
    """In version 1 members and pools go from where they stand there."""
    message = mixed_message(12)
    [pool, _repeat] = message["pools"].values()
    name = next(iter(message["listeners"]))
    old = size.reduced({**message, "ver": 1, "pools": {}}, 0)
    old["listeners"][name]["pools"] = {f"{POOL}1": pool}
    assert size.reduced(old, 19)["listeners"][name]["pools"] == {
        f"{POOL}1": {"status": "UP", "members": {}}
    }
    assert size.reduced(old, 20)["listeners"][name]["pools"] == {}
    assert old["listeners"][name]["pools"] == {f"{POOL}1": pool}
