# SPDX-License-Identifier: Apache-2.0
"""What the watch knows of amphorae, and which changes it tells."""

import datetime

from amphora_controller.heartbeat.envelope import Fault
from amphora_controller.watch.changes import Kind
from amphora_controller.watch.store import Numbered, Store
from amphora_controller.watch.watcher import Limits, Watcher
from tests.support import watched
from tests.support.watched import (
    AMPHORA,
    KEY,
    LISTENER,
    MEMBERS,
    POOL,
    START,
    give,
    hear,
    moment,
    told,
)


def test_new_amphora_is_told_with_what_is_not_well_in_it(watch: Watcher) -> None:
    """At first sight a member that is down is told, and one that is up is not."""
    assert told(hear(watch, 0, "UP", "DOWN")) == [
        (AMPHORA, None, "ALIVE"),
        (MEMBERS[1], None, "ERROR"),
    ]


def test_changes_are_told_once_and_words_that_mean_the_same_are_none(watch: Watcher) -> None:
    """`UP 1/3` is still online, RESTARTING changes nothing, and DOWN is told one time."""
    hear(watch, 0, "UP")
    assert hear(watch, 1, "UP 1/3") == []
    assert hear(watch, 2, "RESTARTING") == []
    assert told(hear(watch, 3, "DOWN")) == [(MEMBERS[0], "ONLINE", "ERROR")]
    assert hear(watch, 4, "DOWN") == []
    [back] = hear(watch, 5, "UP", listener="OPEN")
    assert (back.event.kind, back.event.pool_id, back.number) == (Kind.MEMBER, POOL, 3)


def test_members_that_come_and_go_while_they_are_well_are_configuration(watch: Watcher) -> None:
    """A member that is added or removed is not told, unless it was down."""
    hear(watch, 0, "UP")
    assert hear(watch, 1, "UP", "UP") == []
    assert hear(watch, 2, "UP") == []
    hear(watch, 3, "UP", "DOWN")
    assert told(hear(watch, 4, "UP")) == [(MEMBERS[1], "ERROR", None)]


def test_listener_that_is_missing_is_told(watch: Watcher) -> None:
    """A listener that is not in a heartbeat any more may be the end of the amphora."""
    hear(watch, 0)
    assert told(hear(watch, 1, listener="FULL")) == [(LISTENER, "ONLINE", "DEGRADED")]
    empty = watched.message() | {"listeners": {}, "pools": {}}
    heard = give(watch, 2, watched.signed(empty | {"seq": 2}))
    assert heard is not None
    assert told(heard.events) == [(LISTENER, "DEGRADED", None)]


def test_silence_is_told_once_and_so_is_its_end(watch: Watcher) -> None:
    """After a minute without a heartbeat an amphora is silent; with the next it is back."""
    hear(watch, 0)
    events: list[Numbered] = []
    for second in range(1, 130):
        events += watch.tick(moment(second))
    assert told(events) == [(AMPHORA, "ALIVE", "SILENT")]
    assert events[0].event.at == START + datetime.timedelta(seconds=60)
    assert told(hear(watch, 130)) == [(AMPHORA, "SILENT", "ALIVE")]


def test_watch_that_was_stopped_calls_nobody_silent(watch: Watcher) -> None:
    """An hour in which the watch itself did not run is no hour of silence."""
    hear(watch, 0)
    assert watch.tick(moment(3600)) == []
    # The control: the same hour with the watch running.
    found = [event for second in range(3601, 7200) for event in watch.tick(moment(second))]
    assert told(found) == [(AMPHORA, "ALIVE", "SILENT")]


def test_silent_amphora_is_forgotten(watch: Watcher, memory: Store) -> None:
    """After forget_s nothing is known of it, here and in the store."""
    hear(watch, 0)
    for second in range(1, 599):
        watch.tick(moment(second))
    assert AMPHORA in watch.known
    for second in range(599, 603):
        watch.tick(moment(second))
    assert (watch.known, watch.last, memory.known()) == ({}, {}, {})


def test_amphorae_beyond_the_limit_are_counted(memory: Store) -> None:
    """A key that leaked fills no memory: amphorae beyond the limit are not kept."""
    watch = Watcher(memory, KEY, Limits(amphorae=2))
    for number in range(5):
        give(watch, 0, watched.datagram(amphora_id=f"amphora-{number}"))
    assert sorted(watch.known) == ["amphora-0", "amphora-1"]
    assert watch.tally.over_limit == 3
    assert hear(watch, 1, "DOWN", amphora_id="amphora-1") != []


def test_bad_datagrams_are_counted_with_their_sender(watch: Watcher) -> None:
    """Each kind has its count; what is known stays as it is."""
    hear(watch, 0)
    forged = watched.datagram("DOWN", key="another")
    for payload in (forged, forged, forged[:50], b"\x00" * 65_507):
        assert give(watch, 1, payload, source="198.51.100.66") is None
    assert watch.tally.refused == {Fault.WRONG_KEY: 2, Fault.TRUNCATED: 1, Fault.GARBAGE: 1}
    assert watch.tally.refused_from[Fault.WRONG_KEY] == "198.51.100.66"
    assert watch.tally.heartbeats == 1
    assert hear(watch, 2) == []


def test_captured_heartbeat_does_not_keep_a_dead_amphora_alive(watch: Watcher) -> None:
    """The last heartbeat sent again from elsewhere is counted and no sign of life."""
    captured = watched.datagram("UP", sequence=7)
    assert give(watch, 0, captured) is not None
    events: list[Numbered] = []
    for second in range(1, 62):
        assert give(watch, second, captured, source="198.51.100.66") is None
        events += watch.tick(moment(second))
    assert told(events) == [(AMPHORA, "ALIVE", "SILENT")]
    assert watch.known[AMPHORA].address == watched.ADDRESS
    assert (watch.tally.repeated, watch.tally.repeated_from) == (61, "198.51.100.66")
    # The control: the next of the sequence, which says the same, is one.
    assert told(hear(watch, 62, "UP", sequence=8)) == [(AMPHORA, "SILENT", "ALIVE")]


def test_heartbeats_without_a_sequence_may_be_alike(watch: Watcher) -> None:
    """Who does not count says the same again and again, and lives."""
    uncounted = watched.signed(watched.message("UP") | {"seq": None})
    for second in (0, 10, 20):
        assert give(watch, second, uncounted) is not None
    assert watch.tally.repeated == 0
