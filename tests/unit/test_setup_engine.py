# SPDX-License-Identifier: Apache-2.0
"""Steps in their order: what is told, what is done, and how a run ends."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from keystoneauth1.exceptions import ConnectFailure

from amphora_controller.errors import ControllerError
from amphora_controller.setup import engine
from amphora_controller.setup.engine import Outcome, State
from amphora_controller.setup.steps import Change


@dataclass
class Row:
    """A step that wants things to be there, in their order.

    Attributes:
        there: what is, and what a change adds to.
        fault: raised instead of adding the thing of that name.
    """

    name: str
    wanted: tuple[str, ...]
    there: list[str] = field(default_factory=list)
    fault: tuple[str, BaseException] | None = None

    def changes(self) -> Iterator[Change]:
        """See Step."""
        for thing in self.wanted:
            if thing not in self.there:
                yield Change(what=f"make {thing}", detail=f"POST {thing}", do=self._adder(thing))

    def removals(self) -> Iterator[Change]:
        """See Step."""
        return iter(())

    def _adder(self, thing: str) -> Callable[[], None]:
        def add() -> None:
            if self.fault is not None and self.fault[0] == thing:
                raise self.fault[1]
            self.there.append(thing)

        return add


def ran(*rows: Row, dry_run: bool = False) -> tuple[list[Outcome], list[str]]:
    """Outcomes and lines of progress."""
    said: list[str] = []
    outcomes = engine.run(rows, lambda step: step.changes(), dry_run=dry_run, say=said.append)
    return outcomes, said


def states(outcomes: list[Outcome]) -> list[tuple[State, int]]:
    """How each step ended."""
    return [(outcome.state, outcome.changes) for outcome in outcomes]


def test_second_run_has_nothing_to_do() -> None:
    """The first run makes what is missing and tells it, the second says that there is nothing."""
    first, second = Row("one", ("a", "b")), Row("two", ("c",), there=["c"])
    outcomes, said = ran(first, second)
    assert states(outcomes) == [(State.CHANGED, 2), (State.SAME, 0)]
    assert said == ["one", "  make a", "  make b", "two", "  as it should be"]
    assert "nothing to do" not in engine.summary(outcomes)
    again, _ = ran(first, second)
    assert states(again) == [(State.SAME, 0)] * 2
    assert engine.summary(again)[-1] == "nothing to do"


def test_dry_run_tells_and_does_nothing() -> None:
    """Each change is told with its detail, and none is done."""
    row = Row("one", ("a",))
    outcomes, said = ran(row, dry_run=True)
    assert (row.there, states(outcomes)) == ([], [(State.PENDING, 1)])
    assert said == ["one", "  would make a", "    POST a"]


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        (ControllerError("no a", "make room"), State.FAILED, ["  failed: no a", "    make room"]),
        (
            ConnectFailure("refused"),
            State.FAILED,
            [
                "  failed: make b: refused",
                "    look whether the service runs and is reached from this host; run again then",
            ],
        ),
        (KeyboardInterrupt(), State.INTERRUPTED, []),
    ],
)
def test_failure_ends_the_run_and_the_next_one_goes_on(
    fault: BaseException, state: State, words: list[str]
) -> None:
    """No step after one that failed is begun; when the fault is gone only the rest is made."""
    rows = Row("one", ("a", "b"), fault=("b", fault)), Row("two", ("c",)), Row("three", ("d",))
    outcomes, said = ran(*rows)
    assert states(outcomes) == [(state, 1), (State.NOT_REACHED, 0), (State.NOT_REACHED, 0)]
    assert said == ["one", "  make a", "  make b", *words]
    assert engine.summary(outcomes)[-1] == "run it again: it goes on where it stopped"
    rows[0].fault = None
    again, _ = ran(*rows)
    assert states(again) == [(State.CHANGED, 1)] * 3


def test_fault_that_is_not_foreseen_is_not_hidden() -> None:
    """An error of the program itself is no outcome of a step."""
    with pytest.raises(ZeroDivisionError):
        ran(Row("one", ("a",), fault=("a", ZeroDivisionError())))


def test_dry_run_goes_on_where_a_step_cannot_know_yet() -> None:
    """After changes that were only told, a step that misses something is not called failed."""

    class Blind(Row):
        def changes(self) -> Iterator[Change]:
            raise ControllerError("no network", "run setup network")

    blind = Blind("blind", ())
    outcomes, said = ran(Row("one", ("a",)), blind, Row("two", ("b",)), dry_run=True)
    assert [outcome.state for outcome in outcomes] == [
        State.PENDING,
        State.UNKNOWN,
        State.PENDING,
    ]
    assert "    run setup network" not in said
    outcomes, said = ran(Row("one", ("a",), there=["a"]), blind, dry_run=True)
    assert [outcome.state for outcome in outcomes] == [State.SAME, State.FAILED]
    assert "    run setup network" in said
