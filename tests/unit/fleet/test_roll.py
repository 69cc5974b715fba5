# SPDX-License-Identifier: Apache-2.0
"""How a plan is carried out, by a model of Octavia that keeps the books."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_controller.errors import ControllerError
from amphora_controller.fleet.model import Known, LoadBalancer, Report, Role
from amphora_controller.fleet.plan import Plan, plan
from amphora_controller.fleet.roll import Patience, roll, settle
from tests.unit.fleet.fleets import (
    NEW,
    NOW,
    OLD,
    WANTED,
    Cluster,
    amphora,
    answered,
    clusters,
    fleet_of,
    name,
)


@dataclass
class Books:
    """Octavia as far as a roll sees it; it keeps the books of what goes on at the same time.

    Attributes:
        looks: after how many looks a failover ends.
        broken: ids of amphorae whose failover ends in ERROR.
        silent: looks that get no answer, one after the other, before the next does.
    """

    known: dict[str, Known]
    status: dict[str, str]
    looks: int = 2
    broken: frozenset[str] = frozenset()
    silent: int = 0
    most: int = 0
    replaced: list[str] = field(default_factory=list)
    _left: dict[str, tuple[int, str]] = field(default_factory=dict)

    def amphorae(self, load_balancer_id: str | None = None) -> list[Known]:
        """See roll.Cloud."""
        return [
            one for one in self.known.values() if load_balancer_id in {None, one.load_balancer_id}
        ]

    def load_balancer(self, load_balancer_id: str) -> LoadBalancer:
        """See roll.Cloud."""
        if self.silent:
            self.silent -= 1
            raise ControllerError("no answer")
        if load_balancer_id in self._left:
            looks, amphora_id = self._left.pop(load_balancer_id)
            if looks > 1:
                self._left[load_balancer_id] = looks - 1, amphora_id
            else:
                self._end(load_balancer_id, amphora_id)
        return LoadBalancer(id=load_balancer_id, name="", status=self.status[load_balancer_id])

    def fail_over(self, amphora_id: str) -> None:
        """See roll.Cloud; Octavia refuses a second change of a load balancer."""
        lb_id = self.known[amphora_id].load_balancer_id or ""
        assert self.status[lb_id] == "ACTIVE", "both of a pair at once"
        self.status[lb_id] = "PENDING_UPDATE"
        self._left[lb_id] = self.looks, amphora_id
        self.replaced.append(amphora_id)
        self.most = max(self.most, len(self._left))

    def _end(self, lb_id: str, amphora_id: str) -> None:
        if amphora_id in self.broken:
            self.status[lb_id] = "ERROR"
            return
        self.status[lb_id] = "ACTIVE"
        old = self.known.pop(amphora_id)
        fresh = replace(old, id=f"new-{amphora_id}", image_id=NEW)
        self.known[f"new-{amphora_id}"] = fresh


class Time:
    """A clock that goes on by sleeping only."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def patience(self, timeout_s: float = 100.0) -> Patience:
        """Of this clock."""
        return Patience(
            timeout_s=timeout_s, interval_s=1.0, clock=lambda: self.now_s, sleep=self.sleep
        )

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


def books_of(
    reports: Sequence[Report],
    known: dict[str, LoadBalancer],
    kind: type[Books] = Books,
    **more: object,
) -> Books:
    """The same fleet as Octavia has it."""
    return kind(
        known={report.amphora.id or "": report.amphora for report in reports},
        status={one.id: one.status for one in known.values()},
        **more,  # type: ignore[arg-type]
    )


def planned_by(books: Books, at_once: int) -> Plan:
    """A plan of what there is now; of a pair the first one serves."""
    reports = [answered(one) for one in books.amphorae()]
    known = {
        lb_id: LoadBalancer(id=lb_id, name="", status=status)
        for lb_id, status in books.status.items()
    }
    return plan(reports, known, WANTED, now=NOW, at_once=at_once)


def fine(_: Known) -> str:
    """Every new amphora may stay."""
    return ""


@given(clusters, st.integers(1, 4), st.integers(0, 3), st.data())
def test_roll_that_fails_anywhere_is_taken_up(
    drawn: list[Cluster], at_once: int, silent: int, data: st.DataObject
) -> None:
    """However many failovers fail, never too many go on at once, and runs end with all replaced."""
    reports, known = fleet_of([replace(one, changing=False) for one in drawn])
    due = [report.amphora.id or "" for report in reports if report.amphora.image_id == OLD]
    broken = data.draw(st.sets(st.sampled_from(due))) if due else set()
    books = books_of(reports, known, broken=frozenset(broken), silent=silent)
    for _ in range(len(broken) + 1):
        made = planned_by(books, at_once)
        before = len(books.replaced)
        try:
            roll(made, books, fine, Time().patience(), lambda _: None)
        except ControllerError:
            # No wave was begun after the one that failed.
            begun = books.replaced[before:]
            wave_of = {s.amphora.id: n for n, wave in enumerate(made.waves) for s in wave}
            assert {wave_of[one] for one in begun} == set(range(wave_of[begun[-1]] + 1))
            # Somebody mends what is broken.
            books.broken = books.broken - set(begun)
            books.status = dict.fromkeys(books.status, "ACTIVE")
    assert books.most <= at_once
    assert {one.image_id for one in books.amphorae()} <= {NEW}
    assert Counter(books.replaced) == Counter(due) + Counter(broken)


def test_roll_skips_what_is_gone_already() -> None:
    """An amphora that somebody else replaced since the plan was made is not asked for."""
    reports, known = fleet_of([Cluster(False, (OLD, OLD), 0, False)])
    books = books_of(reports, known)
    made = planned_by(books, 1)
    books.known = {"other": amphora(77, name(1000), Role.STANDALONE, NEW)}
    told: list[str] = []
    roll(made, books, fine, Time().patience(), told.append)
    assert books.replaced == []
    assert told[-1].endswith("is gone already")


def test_roll_that_is_refused_begins_no_more() -> None:
    """When Octavia does not take one of a wave, what it took before is waited for."""
    reports, known = fleet_of([Cluster(False, (OLD, OLD), 0, False)] * 5)

    class Busy(Books):
        def fail_over(self, amphora_id: str) -> None:
            if amphora_id == name(4):
                raise ControllerError("cannot be failed over", "Octavia works on it")
            super().fail_over(amphora_id)

    books = books_of(reports, known, Busy)
    told: list[str] = []
    with pytest.raises(ControllerError, match="stopped after 2 of 5 amphorae") as caught:
        roll(planned_by(books, 3), books, fine, Time().patience(), told.append)
    assert f"amphora {name(4)}: cannot be failed over: Octavia works on it" in caught.value.hint
    assert books.replaced == [name(0), name(2)]
    assert f"  amphora {name(2)}: replaced" in told


def test_roll_waits_for_all_of_a_wave_before_it_stops() -> None:
    """When one of a wave fails, the other one is waited for and told as replaced."""
    reports, known = fleet_of([Cluster(False, (OLD, OLD), 0, False)] * 3)
    books = books_of(reports, known, broken=frozenset([name(2)]))
    told: list[str] = []
    with pytest.raises(ControllerError, match="stopped after 2 of 3 amphorae"):
        roll(planned_by(books, 2), books, fine, Time().patience(), told.append)
    assert f"  amphora {name(4)}: replaced" in told
    assert books.status[name(1002)] == "ACTIVE"


def test_roll_tells_what_octavia_did_not_do() -> None:
    """ACTIVE again with the old amphora, or with none, or with a bad one, is no success."""
    reports, known = fleet_of([Cluster(False, (OLD, OLD), 0, False)])

    class Lazy(Books):
        def _end(self, lb_id: str, _amphora_id: str) -> None:
            self.status[lb_id] = "ACTIVE"

    class Lossy(Books):
        def _end(self, lb_id: str, amphora_id: str) -> None:
            self.status[lb_id] = "ACTIVE"
            del self.known[amphora_id]

    kinds: list[tuple[type[Books], str]] = [
        (Lazy, "has the old amphora still"),
        (Lossy, "with 0 new amphorae"),
    ]
    for kind, words in kinds:
        books = books_of(reports, known, kind)
        with pytest.raises(ControllerError, match=words):
            roll(planned_by(books, 1), books, fine, Time().patience(), lambda _: None)
    books = books_of(reports, known)
    with pytest.raises(ControllerError, match=f"the new amphora new-{name(0)} is odd"):
        roll(planned_by(books, 1), books, lambda _: "is odd", Time().patience(), lambda _: None)


def test_roll_gives_up_in_time() -> None:
    """An API that never answers again and a failover that never ends are told at the deadline."""
    reports, known = fleet_of([Cluster(False, (OLD, OLD), 0, False)])
    for silent, looks, words in ((10_000, 1, "no answer"), (0, 10_000, "PENDING_UPDATE")):
        books, time = books_of(reports, known, silent=silent, looks=looks), Time()
        with pytest.raises(ControllerError, match=words):
            roll(planned_by(books, 1), books, fine, time.patience(50), lambda _: None)
        assert 50 <= time.now_s <= 52


def test_settle_waits_for_what_goes_on() -> None:
    """It ends when nothing is being changed, and complains when that takes too long."""
    reports, known = fleet_of([Cluster(False, (OLD, OLD), 0, False)])
    books = books_of(reports, known, looks=5)
    books.fail_over(name(0))
    settle([name(1000)], books, Time().patience())
    assert books.status[name(1000)] == "ACTIVE"
    books = books_of(reports, known, looks=1000)
    books.fail_over(name(0))
    with pytest.raises(ControllerError, match=f"still being changed: {name(1000)}"):
        settle([name(1000)], books, Time().patience(20))
