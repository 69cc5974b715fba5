# SPDX-License-Identifier: Apache-2.0
"""A fleet's plan and how it is carried out, by a model of Octavia that keeps the books."""

import datetime
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_controller.errors import ControllerError
from amphora_controller.fleet import table
from amphora_controller.fleet.model import Known, LoadBalancer, Report, Role
from amphora_controller.fleet.plan import Plan, Wanted, plan, reasons, version
from amphora_controller.fleet.roll import Patience, roll, settle

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
OLD, NEW = "old", "new"
WANTED = Wanted(image_id=NEW)


def name(number: int) -> str:
    """An id."""
    return str(uuid.UUID(int=number))


def amphora(number: int, lb_id: str, role: Role, image_id: str = OLD) -> Known:
    """One that serves."""
    return Known(
        id=name(number),
        address="192.0.2.1",
        load_balancer_id=lb_id,
        role=role,
        status="ALLOCATED",
        image_id=image_id,
    )


def answered(known: Known, *, holds_vip: bool | None = None) -> Report:
    """What it said."""
    until = NOW + datetime.timedelta(days=20)
    return Report(
        amphora=known, haproxy="3.0.11-1", agent="1", certificate_until=until, holds_vip=holds_vip
    )


def ids(made: Plan) -> list[list[str | None]]:
    """Whom each wave has."""
    return [[step.amphora.id for step in wave] for wave in made.waves]


def active(*lb_ids: str) -> dict[str, LoadBalancer]:
    """Load balancers that may be changed."""
    return {one: LoadBalancer(id=one, name="", status="ACTIVE") for one in lb_ids}


def planned(reports: Sequence[Report], wanted: Wanted = WANTED, at_once: int = 1) -> Plan:
    """A plan in which every load balancer may be changed."""
    known = {report.amphora.load_balancer_id or "" for report in reports}
    return plan(reports, active(*known), wanted, now=NOW, at_once=at_once)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Amphorae of one load balancer, of a pair or alone, some of them of the new image."""

    pair: bool
    images: tuple[str, str]
    holder: int
    changing: bool


clusters = st.lists(
    st.builds(
        Cluster,
        pair=st.booleans(),
        images=st.tuples(st.sampled_from([OLD, NEW]), st.sampled_from([OLD, NEW])),
        holder=st.integers(0, 1),
        changing=st.sampled_from([False, False, False, True]),
    ),
    max_size=12,
)


def fleet_of(drawn: Sequence[Cluster]) -> tuple[list[Report], dict[str, LoadBalancer]]:
    """What a survey and Octavia would tell of them."""
    reports: list[Report] = []
    known: dict[str, LoadBalancer] = {}
    for index, cluster in enumerate(drawn):
        lb_id = name(1000 + index)
        status = "PENDING_UPDATE" if cluster.changing else "ACTIVE"
        known[lb_id] = LoadBalancer(id=lb_id, name="", status=status)
        roles = (Role.MASTER, Role.BACKUP) if cluster.pair else (Role.STANDALONE,)
        for place, role in enumerate(roles):
            one = amphora(2 * index + place, lb_id, role, cluster.images[place])
            holds = place == cluster.holder if cluster.pair else None
            reports.append(answered(one, holds_vip=holds))
    return reports, known


@given(clusters, st.integers(1, 5))
def test_plan_keeps_its_promises(drawn: list[Cluster], at_once: int) -> None:
    """In a wave no load balancer twice and none too many; every amphora that is due, just once."""
    reports, known = fleet_of(drawn)
    made = plan(reports, known, WANTED, now=NOW, at_once=at_once)
    for number, wave in enumerate(made.waves):
        balancers = [step.load_balancer_id for step in wave]
        assert len(set(balancers)) == len(balancers)
        assert 1 <= len(wave) <= (at_once if number else 1)
    due = {report.amphora.id for report in reports if report.amphora.image_id == OLD}
    covered = Counter(
        [*(step.amphora.id for step in made.steps), *(h.amphora.id for h in made.held)]
    )
    assert covered == Counter(due)
    assert all(known[held.amphora.load_balancer_id or ""].is_changing for held in made.held)
    assert all(held.passes for held in made.held)


@given(clusters, st.integers(1, 5))
def test_plan_takes_the_serving_one_of_a_pair_last(drawn: list[Cluster], at_once: int) -> None:
    """Of two that are due, the one with the VIP comes in a later wave."""
    reports, known = fleet_of(drawn)
    made = plan(reports, known, WANTED, now=NOW, at_once=at_once)
    holds = {report.amphora.id: report.holds_vip for report in reports}
    seen: set[str] = set()
    for step in made.steps:
        if step.load_balancer_id in seen:
            assert holds[step.amphora.id]
        seen.add(step.load_balancer_id)
    interrupts = [wave[0].interrupts for wave in made.waves]
    assert interrupts == sorted(interrupts)


def test_plan_of_pairs_finishes_one_before_the_next() -> None:
    """With a limit of one, both of a pair go before another pair is begun."""
    pairs = [
        answered(amphora(number, name(1000 + number // 2), role))
        for number, role in enumerate([Role.MASTER, Role.BACKUP] * 2)
    ]
    # No one tells who has the VIP: then the role decides.
    assert ids(planned(pairs)) == [[name(1)], [name(0)], [name(3)], [name(2)]]
    assert ids(planned(pairs, at_once=2)) == [[name(1)], [name(0), name(3)], [name(2)]]


def test_plan_takes_a_silent_amphora_before_its_peer() -> None:
    """Who does not answer serves nobody; the good one goes only if the silent one goes first."""
    good = answered(amphora(1, "lb", Role.BACKUP), holds_vip=True)
    silent = Report(amphora=amphora(0, "lb", Role.MASTER), cause="no answer")
    assert ids(planned([good, silent])) == [[name(0)], [name(1)]]
    of_new = replace(silent, amphora=replace(silent.amphora, image_id=NEW))
    made = planned([good, of_new])
    assert made.waves == ()
    why = {held.amphora.id: held.why for held in made.held}
    assert why[name(1)].startswith(f"its peer {name(0)} does not answer (no answer): openstack")
    assert why[name(0)] == "it cannot be judged: no answer"


@pytest.mark.parametrize("status", ["ERROR", "BOOTING"])
def test_plan_leaves_a_pair_alone_that_is_not_whole(status: str) -> None:
    """With a peer that Octavia has not allocated, the other one is all there is."""
    pair = [answered(amphora(n, "lb", role)) for n, role in enumerate((Role.MASTER, Role.BACKUP))]
    assert len(planned(pair).steps) == 2
    pair[0] = replace(pair[0], amphora=replace(pair[0].amphora, status=status))
    made = planned(pair)
    assert made.waves == ()
    assert {held.amphora.id for held in made.held} == {name(0), name(1)}
    assert {held.why for held in made.held} == {
        f"amphora {name(0)} is {status}: openstack loadbalancer failover lb"
    }


@pytest.mark.parametrize(
    "roles", [[Role.MASTER], [Role.MASTER, Role.BACKUP, Role.BACKUP], [Role.STANDALONE] * 2]
)
def test_plan_leaves_alone_what_has_another_number_of_amphorae(roles: list[Role]) -> None:
    """Half a pair, and more than there should be, are Octavia's to put right first."""
    made = planned([answered(amphora(number, "lb", role)) for number, role in enumerate(roles)])
    assert made.waves == ()
    assert f"has {len(roles)} amphorae, of " in made.held[0].why


def test_plan_of_a_load_balancer_that_is_gone_is_held() -> None:
    """One that Octavia does not list has no step."""
    made = plan([answered(amphora(1, "lb", Role.STANDALONE))], {}, WANTED, now=NOW, at_once=1)
    assert (made.waves, made.held[0].why) == ((), "Octavia does not know its load balancer")
    assert not made.held[0].passes


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3.0.11-1+deb13u1", (3, 0, 11)),
        ("2.8.16-0ubuntu0.24.04.1", (2, 8, 16)),
        ("3.2-dev4", (3, 2)),
        ("v3", None),
        ("", None),
    ],
)
def test_version_is_what_it_begins_with(text: str, numbers: tuple[int, ...] | None) -> None:
    """Numbers of packages are read up to the first other character."""
    assert version(text) == numbers


def test_reasons_compare_numbers_and_not_words() -> None:
    """3.0.9 is older than 3.0.11, and what is not known is no reason."""
    report = replace(answered(amphora(1, "lb", Role.STANDALONE)), haproxy="3.0.9-1")
    assert reasons(report, Wanted(haproxy=(3, 0, 11)), NOW) == ("haproxy 3.0.9-1",)
    assert reasons(report, Wanted(haproxy=(3, 0, 9)), NOW) == ()
    assert reasons(replace(report, haproxy="odd"), Wanted(haproxy=(9,)), NOW) == ()
    assert reasons(report, Wanted(days=21), NOW) == ("certificate for 20 days",)
    assert reasons(report, Wanted(days=20), NOW) == ()
    unknown = replace(report, amphora=replace(report.amphora, image_id=None))
    assert reasons(unknown, Wanted(image_id=NEW), NOW) == ()


def test_expired_certificate_counts_by_what_octavia_has_noted() -> None:
    """Who is refused for an expired certificate tells no date; Octavia's own one is taken."""
    noted = replace(
        amphora(1, "lb", Role.STANDALONE), certificate_until=NOW - datetime.timedelta(days=3)
    )
    report = Report(amphora=noted, cause="certificate has expired")
    assert reasons(report, Wanted(days=1), NOW) == ("certificate for -3 days",)


# Carrying it out


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


# Tables


def test_table_groups_and_lists() -> None:
    """The largest group comes first; who did not answer is in none of them."""
    reports = [
        *(answered(amphora(number, "lb", Role.MASTER, NEW)) for number in range(3)),
        answered(amphora(7, "lb", Role.MASTER)),
        Report(amphora=amphora(8, "lb", Role.MASTER), cause="it is off"),
    ]
    found = table.groups(reports, NOW)
    assert [(one.image_id, one.amphorae) for one in found] == [(NEW, 3), (OLD, 1)]
    text = table.listing(reports, NOW, each=False)
    assert text.splitlines()[0].split() == [
        *("IMAGE", "HAPROXY", "AGENT", "AMPHORAE", "CERTIFICATE", "DAYS"),
    ]
    assert text.endswith(f"\ndid not answer:\n  192.0.2.1  {name(8)}  it is off\n")
    assert table.listing([], NOW, each=True).count("\n") == 1


def test_plan_of_nothing_says_so() -> None:
    """An empty plan is a sentence, and an empty list for programs."""
    nothing = planned([])
    assert table.plan_text(nothing) == "no amphora is to be replaced\n"
    assert table.plan_json(nothing) == {"waves": [], "held": []}
