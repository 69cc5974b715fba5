# SPDX-License-Identifier: Apache-2.0
"""Steps in their order: each change is told and then done, or only told."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from amphora_controller import cloud_errors
from amphora_controller.errors import ControllerError
from amphora_controller.setup.steps import Change, Step

Say = Callable[[str], None]
Look = Callable[[Step], Iterator[Change]]

_REQUEST = "run again with --dry-run to see the request"


class State(StrEnum):
    """How a step ended."""

    CHANGED = "changed"
    PENDING = "would change"
    SAME = "as it should be"
    UNKNOWN = "not known before the changes above are made"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a step.

    Attributes:
        changes: how many were done, or would be.
    """

    step: str
    state: State
    changes: int = 0
    error: ControllerError | None = None


def run(steps: Sequence[Step], look: Look, *, dry_run: bool, say: Say) -> list[Outcome]:
    """Run steps in the order given; a step that fails or is interrupted is the last one.

    A dry run goes on after a failure: nothing that follows can do harm.

    Args:
        look: Step.changes or Step.removals.
        say: takes lines of progress.
    """
    outcomes: list[Outcome] = []
    for step in steps:
        states = {outcome.state for outcome in outcomes}
        if State.INTERRUPTED in states or (State.FAILED in states and not dry_run):
            outcomes.append(Outcome(step=step.name, state=State.NOT_REACHED))
            continue
        say(step.name)
        pending = State.PENDING in states
        outcome = _run_step(step, look, dry_run=dry_run, pending=pending, say=say)
        outcomes.append(outcome)
        if outcome.error is not None:
            say(f"  {outcome.state}: {outcome.error.message}")
            if outcome.state is State.FAILED:
                _say_indented(outcome.error.hint, say)
        elif not outcome.changes:
            say(f"  {outcome.state}")
    return outcomes


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each step, and one for the whole."""
    width = max((len(outcome.step) for outcome in outcomes), default=0)
    lines = [f"{outcome.step:{width}}  {_words(outcome)}" for outcome in outcomes]
    states = {outcome.state for outcome in outcomes}
    if states <= {State.SAME}:
        lines.append("nothing to do")
    elif states & {State.INTERRUPTED, State.NOT_REACHED}:
        lines.append("run it again: it goes on where it stopped")
    return lines


def _run_step(step: Step, look: Look, *, dry_run: bool, pending: bool, say: Say) -> Outcome:
    done = 0
    doing = f"look at {step.name}"
    try:
        for change in look(step):
            doing = change.what
            if dry_run:
                say(f"  would {change.what}")
                _say_indented(change.detail, say)
            else:
                say(f"  {change.what}")
                change.do()
            done += 1
            doing = f"look at {step.name}"
    except KeyboardInterrupt:
        return Outcome(step=step.name, state=State.INTERRUPTED, changes=done)
    except ControllerError as exc:
        error = exc
    except cloud_errors.ERRORS as exc:
        error = cloud_errors.explained(exc, doing, otherwise=_REQUEST)
    else:
        changed = State.PENDING if dry_run else State.CHANGED
        return Outcome(step=step.name, state=changed if done else State.SAME, changes=done)
    # In a dry run a step may miss what an earlier one, or this one, has only told of.
    state = State.UNKNOWN if dry_run and (pending or done) else State.FAILED
    return Outcome(step=step.name, state=state, changes=done, error=error)


def _say_indented(text: str, say: Say) -> None:
    for line in text.splitlines():
        say(f"    {line}")


def _words(outcome: Outcome) -> str:
    if not outcome.changes:
        return outcome.state
    changes = "1 change" if outcome.changes == 1 else f"{outcome.changes} changes"
    if outcome.state in {State.CHANGED, State.PENDING}:
        return f"{outcome.state}: {changes}"
    return f"{outcome.state} after {changes}"
