# SPDX-License-Identifier: Apache-2.0
"""The message of a heartbeat and its envelope."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from amphora_agent.heartbeat import haproxy
from amphora_agent.heartbeat import ledger as ledgers
from amphora_agent.heartbeat import message as messages
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.heartbeat.observation import Listener, Observation, Pool, Traffic
from tests.support.heartbeat_samples import (
    AMPHORA_ID,
    LB_ID,
    LISTENER,
    MEMBER,
    POOL,
    SOURCE,
    VECTOR_KEY,
    VECTOR_MESSAGE,
    VECTOR_PACKED,
    VECTOR_SIGNATURE,
    message_of,
    observation,
    observed,
    opened,
    snapshot,
)


def test_opener_opens_what_octavia_packed() -> None:
    """The opener of these tests reads the datagram that Octavia made, so it may judge ours."""
    assert opened(VECTOR_PACKED + VECTOR_SIGNATURE, VECTOR_KEY) == VECTOR_MESSAGE


def test_encode_carries_the_message_of_the_vector() -> None:
    """Our datagram of the vector's message opens with the same key to the same message."""
    data = messages.encode(VECTOR_MESSAGE, key=VECTOR_KEY)
    assert opened(data, VECTOR_KEY) == VECTOR_MESSAGE


def test_encode_signs_with_lower_case_hex_over_the_packed_bytes() -> None:
    """The last 64 bytes are lower-case hex; another key changes them alone."""
    data = messages.encode(VECTOR_MESSAGE, key=VECTOR_KEY)
    other = messages.encode(VECTOR_MESSAGE, key="insecurf")
    assert set(data[-64:]) <= set(b"0123456789abcdef")
    assert (data[:-64], data[-64:] == other[-64:]) == (other[:-64], False)
    with pytest.raises(AssertionError):
        opened(data, "insecurf")


def test_encode_takes_a_key_outside_ascii() -> None:
    """The key is its UTF-8 bytes."""
    assert opened(messages.encode(VECTOR_MESSAGE, key="schlüssel"), "schlüssel")["seq"] == 67


def test_message_reports_exactly_the_served_listeners() -> None:
    """Of the real answer the five listeners are reported, and not the exporter's frontend."""
    look = haproxy.haproxy_observation(LB_ID, snapshot("haproxy-2.6-traffic"))
    message = message_of(look, ledger=observed(Ledger(), look))
    assert list(message["listeners"]) == [LISTENER + c for c in "12345"]
    assert message["listeners"][f"{LISTENER}1"] == {
        "status": "OPEN",
        "stats": {"tx": 595, "rx": 520, "conns": 0, "totconns": 6, "ereq": 1},
    }


def test_message_reports_pools_by_pool_and_listener() -> None:
    """A shared pool appears once for each listener; the exporter's backend does not appear."""
    look = haproxy.haproxy_observation(LB_ID, snapshot("haproxy-2.6-traffic"))
    pools = message_of(look, ledger=observed(Ledger(), look))["pools"]
    assert pools == {
        f"{POOL}1:{LISTENER}1": {
            "status": "UP",
            "members": {
                f"{MEMBER}01": "UP",
                f"{MEMBER}02": "DOWN",
                f"{MEMBER}03": "DRAIN",
                f"{MEMBER}04": "MAINT",
            },
        },
        f"{POOL}1:{LISTENER}3": pools[f"{POOL}1:{LISTENER}1"],
        f"{POOL}2:{LISTENER}2": {
            "status": "UP",
            "members": {
                f"{MEMBER}05": "no check",
                f"{MEMBER}06": "no check",
                f"{MEMBER}10": "no check",
            },
        },
        f"{POOL}3:{LISTENER}4": {"status": "UP", "members": {}},
        f"{POOL}4:{LISTENER}4": {
            "status": "DOWN",
            "members": {f"{MEMBER}07": "MAINT", f"{MEMBER}08": "MAINT"},
        },
    }


def test_message_without_load_balancer_is_complete() -> None:
    """An amphora that serves nothing yet sends empty listeners and pools, and both are there."""
    message = message_of(ledger=Ledger())
    assert message == {"id": AMPHORA_ID, "seq": 5, "ver": 3, "listeners": {}, "pools": {}}


def test_message_joins_several_load_balancers() -> None:
    """Listeners of two haproxies stand in one message, each with its own traffic."""
    first = observation({f"{LISTENER}1": Traffic(bin=1)})
    second = replace(observation({f"{LISTENER}2": Traffic(bin=2)}), source="haproxy:other")
    looks = [first, second]
    ledger = ledgers.observe(Ledger(), looks, existing={SOURCE, "haproxy:other"})
    listeners = message_of(*looks, ledger=ledger)["listeners"]
    assert {name: entry["stats"]["rx"] for name, entry in listeners.items()} == {
        f"{LISTENER}1": 1,
        f"{LISTENER}2": 2,
    }


def looks_of_two_kinds() -> list[Observation]:
    """A haproxy with two workers, and a UDP listener, both with a pool."""
    tcp, udp = f"{LISTENER}1", f"{LISTENER}2"
    pool = Pool(
        pool_id=f"{POOL}1", listener_id=tcp, status="UP", members={f"{MEMBER}01": "no check"}
    )
    http = observation({tcp: Traffic(bin=30)}, worker="2@2", old={"1@1": {tcp: Traffic(bin=7)}})
    return [
        replace(http, pools={f"{POOL}1:{tcp}": pool}),
        Observation(
            source="lvs:x",
            counters={"UDP 192.0.2.1:53": {udp: Traffic(bin=5)}},
            listeners={udp: Listener(status="OPEN", connections=1)},
            pools={f"{POOL}2": replace(pool, pool_id=f"{POOL}2", listener_id=udp)},
        ),
    ]


def sent_before(looks: Sequence[Observation]) -> Ledger:
    """A ledger in which all that the looks count has been sent already."""
    ledger = ledgers.observe(Ledger(), looks, existing={look.source for look in looks})
    return ledgers.settle(ledger, looks)


def test_version_2_carries_what_was_counted_since_the_start() -> None:
    """Version 2 repeats the counters of all that still counts; version 3 has nothing new."""
    looks = looks_of_two_kinds()
    ledger = sent_before(looks)
    message = message_of(*looks, ledger=ledger, version=2)
    assert message["ver"] == 2
    assert [entry["stats"]["rx"] for entry in message["listeners"].values()] == [37, 5]
    assert list(message["pools"]) == [f"{POOL}1:{LISTENER}1", f"{POOL}2"]
    now = message_of(*looks, ledger=ledger)
    assert [entry["stats"]["rx"] for entry in now["listeners"].values()] == [0, 0]


def test_version_1_has_pools_inside_their_listeners() -> None:
    """A pool stands in its own listener by its own id, and not beside the listeners."""
    looks = looks_of_two_kinds()
    message = message_of(*looks, ledger=sent_before(looks), version=1)
    pool = {"status": "UP", "members": {f"{MEMBER}01": "no check"}}
    assert (message["ver"], message["pools"]) == (1, {})
    assert {name: entry["pools"] for name, entry in message["listeners"].items()} == {
        f"{LISTENER}1": {f"{POOL}1": pool},
        f"{LISTENER}2": {f"{POOL}2": pool},
    }
    assert [entry["stats"]["rx"] for entry in message["listeners"].values()] == [37, 5]


@pytest.mark.parametrize(
    ("configured", "is_per_listener", "version"),
    [(3, False, 3), (2, False, 2), (1, False, 1), (3, True, 1), (2, True, 1), (1, True, 1)],
)
def test_version_is_the_newest_that_the_controller_knows(
    configured: int, is_per_listener: bool, version: int
) -> None:
    """A controller of API 0.5 gets version 1, any other what is configured."""
    found = messages.version_for(configured=configured, is_per_listener=is_per_listener)
    assert found == version
