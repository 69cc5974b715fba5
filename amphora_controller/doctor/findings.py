# SPDX-License-Identifier: Apache-2.0
"""What was found at each hop, and which of it merely follows from what is wrong elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from amphora_controller.errors import ControllerError


class Outcome(StrEnum):
    """How the look at a hop ended.

    UNKNOWN: it could not be found out from here. SKIPPED: it was not looked at, or what was found
    follows from another hop that failed.
    """

    OK = "ok"
    FAILED = "FAILED"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """One thing that was found.

    Attributes:
        seen: what.
        do: the next step; empty when all is well.
        is_cause: it stands by itself, whatever else is wrong.
    """

    outcome: Outcome
    seen: str
    do: str = ""
    is_cause: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A note and the hop that it is of."""

    hop: str
    note: Note


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A hop and how it is judged.

    Attributes:
        look: may raise ControllerError, which is a failure of the hop, or Unproven, or Late.
        needs: hops before it; where one of them failed, that this one is not well says nothing.
    """

    hop: str
    look: Callable[[], Iterable[Note]]
    needs: tuple[str, ...] = ()


class Late(Exception):
    """What a check waited for did not end in time.

    Attributes:
        limit_s: how long it was waited for.
    """

    def __init__(self, limit_s: float) -> None:
        super().__init__(limit_s)
        self.limit_s = limit_s


class Unproven(ControllerError):
    """It cannot be found out from here, which is no failure of the hop."""


class NotAsked(ControllerError):
    """Nobody gave what the look at the hop needs."""


def ok(seen: str) -> Note:
    """It is as it should be."""
    return Note(outcome=Outcome.OK, seen=seen)


def failed(seen: str, do: str, *, is_cause: bool = False) -> Note:
    """It does not work."""
    return Note(outcome=Outcome.FAILED, seen=seen, do=do, is_cause=is_cause)


def unknown(seen: str, do: str) -> Note:
    """It could not be found out."""
    return Note(outcome=Outcome.UNKNOWN, seen=seen, do=do)


def skipped(seen: str, do: str = "") -> Note:
    """It was not looked at."""
    return Note(outcome=Outcome.SKIPPED, seen=seen, do=do)


def examined(checks: Iterable[Check]) -> Iterator[Finding]:
    """Judge the hops, in order.

    What is not well at a hop whose need failed is skipped, and names the hop to begin with; so one
    fault is told once, by the first hop that it shows at. In the same way nothing is unknown
    because something before it is.
    """
    ledger = _Ledger()
    for check in checks:
        for note in _notes(check):
            yield Finding(hop=check.hop, note=ledger.entered(check, note))


@dataclass(slots=True)
class _Ledger:
    """What is not well by now: by hop, the hop that it began at.

    Attributes:
        told: by what was seen, the hop that told it first.
    """

    failed: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def entered(self, check: Check, note: Note) -> Note:
        """A note as it is to be told, after those before it."""
        teller = self.told.setdefault(note.seen, check.hop)
        if note.outcome is Outcome.SKIPPED and teller != check.hop:
            return skipped(f"as {teller}")
        origin = self._origin(check, note)
        if origin is None:
            return note
        beside = f" ({note.seen})" if teller == check.hop else ""
        return skipped(f"says nothing before {origin} is well{beside}")

    def _origin(self, check: Check, note: Note) -> str | None:
        """The hop that a note follows from; None if it stands by itself."""
        if note.outcome not in (Outcome.FAILED, Outcome.UNKNOWN):
            return None
        origin = None if note.is_cause else _first(self.failed, check.needs)
        if origin is not None or note.outcome is Outcome.FAILED:
            self.failed.setdefault(check.hop, origin or check.hop)
            return origin
        origin = _first(self.unknown, check.needs)
        self.unknown.setdefault(check.hop, origin or check.hop)
        return origin


def _first(origins: Mapping[str, str], needs: Iterable[str]) -> str | None:
    return next((origins[need] for need in needs if need in origins), None)


def _notes(check: Check) -> Iterator[Note]:
    try:
        yield from check.look()
    except NotAsked as exc:
        yield skipped(exc.message, exc.hint)
    except Unproven as exc:
        yield unknown(exc.message, exc.hint)
    except ControllerError as exc:
        yield failed(exc.message, exc.hint)
    except Late as exc:
        yield unknown(f"no answer within {exc.limit_s:.0f} s", "try again, with a larger --limit")


def conclusion(findings: Sequence[Finding]) -> str:
    """The last line: the hops that fail, or what is not proven, or that all is well."""
    if hops := _hops(findings, Outcome.FAILED):
        return f"failed: {', '.join(hops)}"
    if hops := _hops(findings, Outcome.UNKNOWN):
        return f"nothing failed; not proven: {', '.join(hops)}"
    return "all is well"


def exit_status(findings: Sequence[Finding]) -> int:
    """1 when a hop failed, 2 when one is not proven, else 0."""
    if _hops(findings, Outcome.FAILED):
        return 1
    return 2 if _hops(findings, Outcome.UNKNOWN) else 0


def _hops(findings: Sequence[Finding], outcome: Outcome) -> tuple[str, ...]:
    found = (item.hop for item in findings if item.note.outcome is outcome)
    return tuple(dict.fromkeys(found))
