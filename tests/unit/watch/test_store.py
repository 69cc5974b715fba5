# SPDX-License-Identifier: Apache-2.0
"""No event is lost between a heartbeat and whoever is told."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amphora_controller.errors import ControllerError
from amphora_controller.watch import store
from amphora_controller.watch.changes import Event, Known
from amphora_controller.watch.delivery import Delivery, Untold
from amphora_controller.watch.store import NotStored, Numbered, Store
from amphora_controller.watch.watcher import Watcher
from tests.support import waiting, watched
from tests.support.watched import AMPHORA, KEY, LIMITS, LISTENER, MEMBERS, hear, moment


class FlakyStore(Store):
    """A store on a disk that is full now and then."""

    is_full = False

    def record(self, known: Known, events: Sequence[Event]) -> list[Numbered]:
        if self.is_full:
            raise NotStored("database or disk is full")
        return super().record(known, events)


_WORDS = st.sampled_from(["UP", "DOWN", "DRAIN", "no check", "RESTARTING", "UP 1/2"])
_STEP = st.one_of(
    st.tuples(_WORDS, _WORDS),
    st.just("kill"),
    st.just("silence"),
    st.just("disk full"),
    st.just("disk free"),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(_STEP, max_size=25))
def test_events_are_unbroken_through_kills_and_full_disks(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str | tuple[str, str]]
) -> None:
    """However often the watch starts anew, statuses follow on each other without a gap."""
    path = tmp_path_factory.mktemp("store") / "watch.db"
    writer = FlakyStore(path)
    writer.add_sink("all")
    watch, now_s = Watcher(writer, KEY, LIMITS), 0.0
    for step in [*steps, "disk free", ("UP", "DOWN")]:
        now_s += 1
        if isinstance(step, tuple):
            hear(watch, now_s, *step)
        elif step == "kill":
            writer.close()
            writer = FlakyStore(path)
            watch = Watcher(writer, KEY, LIMITS)
        elif step == "silence":
            for _ in range(62):
                now_s += 1
                watch.tick(moment(now_s))
        else:
            writer.is_full = step == "disk full"
    events = []
    while (event := writer.next_for("all")) is not None:
        events.append(event.document())
        writer.told("all", event.number)
    writer.close()
    watched.assert_unbroken(
        events, {AMPHORA: "ALIVE", LISTENER: "ONLINE", MEMBERS[0]: "ONLINE", MEMBERS[1]: "ERROR"}
    )


def test_unbroken_is_told_from_broken() -> None:
    """The control of the test above: a missing event shows."""
    event = {"number": 1, "object_id": "x", "before": "ONLINE", "after": "ERROR"}
    back = {"number": 2, "object_id": "x", "before": "ERROR", "after": "ONLINE"}
    watched.assert_unbroken([event, back], {"x": "ONLINE"})
    for wrong, now in (
        ([back], "ONLINE"),
        ([event, back | {"number": 3}], "ONLINE"),
        ([event, back | {"before": "DRAINING"}], "ONLINE"),
        ([event], "ONLINE"),
        ([], "ERROR"),
    ):
        with pytest.raises(AssertionError):
            watched.assert_unbroken(wrong, {"x": now})


def test_sink_is_told_what_comes_after_it_was_added(tmp_path: Path) -> None:
    """A new sink gets no history; one that was there gets what waits, after a start as well."""
    path = tmp_path / "watch.db"
    first = Store(path)
    watch = Watcher(first, KEY, LIMITS)
    first.add_sink("old")
    hear(watch, 0, "UP")
    first.add_sink("new")
    first.close()
    again = Store(path)
    again.add_sink("old")
    assert (again.waiting("old"), again.waiting("new")) == (1, 0)
    event = again.next_for("old")
    assert event is not None
    assert event.event.object_id == AMPHORA
    again.told("old", event.number)
    assert again.next_for("old") is None
    again.close()


def test_waiting_events_are_bounded_and_the_oldest_are_given_up() -> None:
    """With room for five, the sink is told the last five, and how many it misses."""
    small = Store(None, kept=5)
    watch = Watcher(small, KEY, LIMITS)
    small.add_sink("slow")
    for second in range(20):
        hear(watch, second, "DOWN" if second % 2 else "UP")
    assert (small.waiting("slow"), small.dropped("slow")) == (5, 15)
    event = small.next_for("slow")
    assert event is not None
    assert event.number == 16
    small.close()


def test_store_of_no_sink_keeps_no_events(memory: Store, watch: Watcher) -> None:
    """Without anybody to tell, events do not pile up, and their numbers go on."""
    hear(watch, 0, "UP")
    [event] = hear(watch, 1, "DOWN")
    assert event.number == 2
    memory.add_sink("late")
    assert memory.waiting("late") == 0


def test_damaged_store_is_set_aside(tmp_path: Path) -> None:
    """A file that is no database is kept under another name, and the watch begins anew."""
    (tmp_path / "watch.db").write_bytes(b"no database at all, " * 100)
    with store.owned(tmp_path) as path:
        made = Store(path)
        assert made.known() == {}
        made.close()
    assert (tmp_path / "watch.db.damaged").read_bytes().startswith(b"no database")


def test_store_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """A newer amphoractl's file is not written to, and the error says so."""
    with sqlite3.connect(tmp_path / "watch.db") as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(ControllerError, match="another version"):
        Store(tmp_path / "watch.db")


def test_two_watches_do_not_share_a_directory(tmp_path: Path) -> None:
    """The second is told so, and may begin when the first has ended."""
    with (
        store.owned(tmp_path),
        pytest.raises(ControllerError, match="another watch"),
        store.owned(tmp_path),
    ):
        pass
    with store.owned(tmp_path):
        pass


class Gate:
    """A sink that takes events while it is open."""

    name = "gate"

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.tries = 0
        self.took: list[int] = []

    def tell(self, event: Numbered) -> None:
        self.tries += 1
        if not self.is_open.is_set():
            raise Untold("closed")
        self.took.append(event.number)


def test_sink_that_refuses_is_asked_again_and_gets_all_in_order(tmp_path: Path) -> None:
    """Nothing overtakes the event that is refused, and each is told once when all goes well."""
    path = tmp_path / "watch.db"
    writer, gate = Store(path), Gate()
    watch = Watcher(writer, KEY, LIMITS)
    delivery = Delivery(gate, path)
    delivery.start()
    for second in range(4):
        hear(watch, second, "DOWN" if second % 2 else "UP")
        delivery.wake()
    waiting.until("a try", lambda: gate.tries or None, deadline_s=10, every_s=0.01)
    waiting.until("trouble", lambda: delivery.trouble or None, deadline_s=10, every_s=0.01)
    assert (gate.took, writer.waiting("gate")) == ([], 4)
    gate.is_open.set()
    waiting.until("all", lambda: True if len(gate.took) == 4 else None, deadline_s=20, every_s=0.01)
    delivery.end(wait_s=10)
    assert gate.took == [1, 2, 3, 4]
    assert (delivery.trouble, writer.waiting("gate")) == ("", 0)
    writer.close()


def test_sink_is_told_when_the_store_can_be_used_again(tmp_path: Path) -> None:
    """A store that cannot be opened is a trouble that is shown, and ends when it can."""
    path = tmp_path / "watch.db"
    writer, gate = Store(path), Gate()
    gate.is_open.set()
    delivery = Delivery(gate, path)
    hear(Watcher(writer, KEY, LIMITS), 0, "UP")

    def set_version(version: int) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA user_version = {version}")

    set_version(2)
    delivery.start()
    waiting.until("trouble", lambda: delivery.trouble or None, deadline_s=10, every_s=0.01)
    assert (gate.took, writer.waiting("gate")) == ([], 1)
    set_version(1)
    waiting.until("it", lambda: gate.took or None, deadline_s=10, every_s=0.01)
    delivery.end(wait_s=10)
    assert (delivery.trouble, writer.waiting("gate")) == ("", 0)
    writer.close()
