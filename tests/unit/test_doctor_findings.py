# SPDX-License-Identifier: Apache-2.0
"""One fault is told once, by the first hop that it shows at."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from amphora_controller.doctor.findings import (
    Check,
    Late,
    NotAsked,
    Note,
    Outcome,
    Unproven,
    conclusion,
    examined,
    exit_status,
    failed,
    ok,
    unknown,
)
from amphora_controller.doctor.jobs import Jobs
from amphora_controller.errors import ControllerError
from tests.support.doctor_options import outcomes

# What follows from what


def gives(*notes: Note) -> Callable[[], Sequence[Note]]:
    """A look that gives notes."""
    return lambda: notes


def raises(error: Exception) -> Callable[[], Sequence[Note]]:
    """A look that raises."""

    def look() -> Sequence[Note]:
        raise error

    return look


def test_consequence_is_skipped_and_names_the_first_cause() -> None:
    """Of three hops that fail one after the other only the first is a failure."""
    found = list(
        examined(
            [
                Check(hop="one", look=gives(failed("broken", "mend it"))),
                Check(hop="two", look=gives(failed("no answer", "")), needs=("one",)),
                Check(hop="three", look=gives(unknown("nothing", "")), needs=("two",)),
                Check(hop="beside", look=gives(ok("fine"))),
            ]
        )
    )
    assert outcomes([item.note for item in found]) == [
        *(Outcome.FAILED, Outcome.SKIPPED, Outcome.SKIPPED, Outcome.OK),
    ]
    assert found[2].note.seen == "says nothing before one is well (nothing)"
    assert conclusion(found) == "failed: one"
    assert exit_status(found) == 1


def test_what_is_well_or_stands_by_itself_is_told_all_the_same() -> None:
    """A cause of its own and a hop that is well are not hidden by a need that failed."""
    found = examined(
        [
            Check(hop="one", look=gives(failed("broken", "mend it"))),
            Check(
                hop="two", look=gives(failed("other", "x", is_cause=True), ok("y")), needs=("one",)
            ),
        ]
    )
    assert outcomes([item.note for item in found]) == [Outcome.FAILED, Outcome.FAILED, Outcome.OK]


def test_doubt_hides_doubt_and_no_failure() -> None:
    """Where a need is unknown, a failure is one, and what is unknown too is skipped."""
    found = list(
        examined(
            [
                Check(hop="one", look=raises(Late(8))),
                Check(hop="two", look=raises(Late(8)), needs=("one",)),
                Check(hop="three", look=gives(failed("broken", "mend it")), needs=("one",)),
            ]
        )
    )
    assert outcomes([item.note for item in found]) == [
        *(Outcome.UNKNOWN, Outcome.SKIPPED, Outcome.FAILED),
    ]
    assert found[0].note.seen == "no answer within 8 s"
    # What was told before is not told again.
    assert found[1].note.seen == "says nothing before one is well"


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        (ControllerError("wrong", "do"), Outcome.FAILED, 1),
        (Unproven("may not", "do"), Outcome.UNKNOWN, 2),
        (NotAsked("none given", "do"), Outcome.SKIPPED, 0),
    ],
)
def test_errors_have_outcomes(error: ControllerError, outcome: Outcome, status: int) -> None:
    """What is wrong, what may not be seen and what nobody gave are told apart."""
    found = list(examined([Check(hop="one", look=raises(error))]))
    assert outcomes([item.note for item in found]) == [outcome]
    assert exit_status(found) == status


def test_what_nobody_gave_is_told_once() -> None:
    """Hops that are skipped for one reason name the first of them instead of telling it again."""
    missing = raises(NotAsked("none given", "do"))
    found = list(examined([Check(hop="one", look=missing), Check(hop="two", look=missing)]))
    assert [item.note.seen for item in found] == ["none given", "as one"]


def test_fault_of_the_program_is_not_hidden() -> None:
    """An error that no look is known for is raised."""
    with pytest.raises(ZeroDivisionError):
        list(examined([Check(hop="one", look=raises(ZeroDivisionError()))]))


# Jobs


def test_job_that_hangs_is_left_behind() -> None:
    """Nobody waits for it longer than was agreed; another one beside it has its result."""
    ended = threading.Event()
    jobs = Jobs(0.2)
    hanging, quick = jobs.start(lambda: ended.wait(30)), jobs.start(lambda: 7)
    begun = time.monotonic()
    with pytest.raises(Late):
        hanging.result()
    assert time.monotonic() - begun < 5
    assert quick.result() == 7
    ended.set()


def test_error_of_a_job_is_raised_where_its_result_is_wanted() -> None:
    """As often as somebody wants it."""
    job = Jobs(5).start(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            job.result()
