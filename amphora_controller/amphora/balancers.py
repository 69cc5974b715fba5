# SPDX-License-Identifier: Apache-2.0
"""Load balancers of an amphora by API 2.0: sent, looked at, taken back."""

import json
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from msgspec import Struct

from amphora_agent.balancer import values
from amphora_agent.balancer.revision import DryRun, Known, LoadBalancers, Revisions, Summary
from amphora_controller.amphora.client import Amphora, Answer, Failed, Hop
from amphora_controller.amphora.documents import Document
from amphora_controller.amphora.expected import Expected
from amphora_controller.amphora.refusals import Refused, expect_2_0
from amphora_controller.errors import ControllerError

T = TypeVar("T", bound=Struct)

_ALL = "/2.0/loadbalancers"
_JSON = {"Content-Type": "application/json"}
# As long as Octavia's driver waits for an answer (rest_request_read_timeout).
_CHANGE_TIMEOUT_S = 60.0
_SUPERSEDED = "superseded"


class Served(Struct, frozen=True, kw_only=True):
    """What the amphora serves.

    Attributes:
        generation: the same until the load balancer is deleted.
        state: active, superseded, or certificates_gone; see docs/api-2.0.md.
        of: the revision that a roll-back took up.
        differs: files that others have changed since.
        details: what a change did.
        warnings: what an operator should look at.
    """

    revision: int
    generation: str
    state: str
    created_at: str
    origin: str
    of: int | None = None
    differs: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The revision as a condition names it."""
        return f"{self.revision}-{self.generation}"


def known(amphora: Amphora) -> tuple[Known, ...]:
    """Every load balancer of the amphora, by whichever API it came.

    Raises:
        ControllerError: there is no answer, or no API 2.0.
    """
    return _read(_get(amphora, _ALL), LoadBalancers).loadbalancers


def only(amphora: Amphora, lb_id: str | None) -> str:
    """The load balancer that is meant: the given one, or the only one of API 2.0 there is.

    Raises:
        ControllerError: there is none, or there are several.
    """
    if lb_id is not None:
        return lb_id
    ids = [str(one.id) for one in known(amphora) if one.revision is not None]
    if len(ids) != 1:
        raise ControllerError(
            f"the amphora has {len(ids) or 'no'} load balancers of API 2.0",
            f"say which: {', '.join(ids)}" if ids else "push makes one",
        )
    return ids[0]


def get(amphora: Amphora, lb_id: str) -> Served:
    """What is served now.

    Raises:
        ControllerError: there is no such load balancer, or no answer.
    """
    return _read(_get(amphora, f"{_ALL}/{lb_id}"), Served)


def history(amphora: Amphora, lb_id: str) -> tuple[Summary, ...]:
    """The revisions that are kept, the newest first.

    Raises:
        ControllerError: there is no such load balancer, or no answer.
    """
    return _read(_get(amphora, f"{_ALL}/{lb_id}/revisions"), Revisions).revisions


def document(amphora: Amphora, lb_id: str, number: int) -> object:
    """The document of one revision, without secrets, as JSON has it.

    Raises:
        ControllerError: there is no such revision, or no answer.
    """
    revision = _get(amphora, f"{_ALL}/{lb_id}/revisions/{number}").json()
    return revision["document"]


def push(amphora: Amphora, pushed: Document, *, expected: Expected | None) -> Served:
    """Have the amphora serve a document, wholly or not at all.

    Args:
        expected: what must be served now; None: whatever is.

    Raises:
        ControllerError: nothing has changed, unless the message says otherwise.
    """
    return _read(_send(amphora, _put(pushed, expected)), Served)


def rehearse_push(amphora: Amphora, pushed: Document, *, expected: Expected | None) -> DryRun:
    """What a push would do; the programs that would read the files have checked them.

    Raises:
        ControllerError: the push would fail.
    """
    return _read(_send(amphora, _put(pushed, expected), "?dry_run=1"), DryRun)


def roll_back(amphora: Amphora, lb_id: str, number: int, *, expected: Expected | None) -> Served:
    """Have the amphora serve an earlier revision again, which makes a new one.

    Raises:
        ControllerError: nothing has changed, unless the message says otherwise.
    """
    return _read(_send(amphora, _roll_back(lb_id, number, expected)), Served)


def rehearse_roll_back(
    amphora: Amphora, lb_id: str, number: int, *, expected: Expected | None
) -> DryRun:
    """What a roll-back would do.

    Raises:
        ControllerError: the roll-back would fail.
    """
    return _read(_send(amphora, _roll_back(lb_id, number, expected), "?dry_run=1"), DryRun)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    """A request that changes a load balancer, if what is expected is served."""

    lb_id: str
    method: str
    path: str
    body: bytes = field(repr=False)
    expected: Expected | None


def _put(pushed: Document, expected: Expected | None) -> _Change:
    return _Change(
        lb_id=pushed.lb_id,
        method="PUT",
        path=f"{_ALL}/{pushed.lb_id}",
        body=pushed.content,
        expected=expected,
    )


def _roll_back(lb_id: str, number: int, expected: Expected | None) -> _Change:
    return _Change(
        lb_id=lb_id,
        method="POST",
        path=f"{_ALL}/{lb_id}/rollback",
        body=json.dumps({"revision": number}).encode(),
        expected=expected,
    )


def _send(amphora: Amphora, change: _Change, query: str = "") -> Answer:
    answer = amphora.request(
        change.method,
        change.path + query,
        change.body,
        headers=_JSON | _condition(amphora, change),
        timeout_s=_CHANGE_TIMEOUT_S,
    )
    try:
        return expect_2_0(answer, 200, 201)
    except Refused as exc:
        if exc.status == 412:
            raise _conflict(change, _served(amphora, change.lb_id)) from exc
        raise


def _condition(amphora: Amphora, change: _Change) -> dict[str, str]:
    """The headers that let a change hold only for what is expected.

    Raises:
        ControllerError: it is not what is served now.
    """
    expected = change.expected
    if expected is None:
        return {}
    if not expected.number:
        return {"If-None-Match": "*"}
    if expected.generation is not None:
        return {"If-Match": f'"{expected.number}-{expected.generation}"'}
    served = _served(amphora, change.lb_id)
    if served is None or served.revision != expected.number or served.state == _SUPERSEDED:
        raise _conflict(change, served)
    # What was looked at is what must still be there.
    return {"If-Match": f'"{served.name}"'}


def _served(amphora: Amphora, lb_id: str) -> Served | None:
    try:
        return get(amphora, lb_id)
    except Refused as exc:
        if exc.status == 404:
            return None
        raise


def _conflict(change: _Change, served: Served | None) -> ControllerError:
    """Why a condition does not hold, as things are now."""
    wanted = f"{change.expected} was expected"
    if served is None:
        return ControllerError(
            f"the amphora has no load balancer {change.lb_id}, but {wanted}",
            "nothing was changed; --revision 0 makes it",
        )
    now = f"revision {served.name} ({served.origin}, {served.created_at})"
    if served.state == _SUPERSEDED:
        return ControllerError(
            f"{now} is no longer what is served, and {wanted}",
            f"nothing was changed; API 1.0 has written {', '.join(served.differs)} since; push "
            "without --revision takes over",
        )
    return ControllerError(
        f"the amphora serves {now}, but {wanted}",
        f"nothing was changed; look at what is there (amphoractl amphora revisions --show "
        f"{served.revision}), then push with --revision {served.name}",
    )


def _get(amphora: Amphora, path: str) -> Answer:
    return expect_2_0(amphora.request("GET", path), 200)


def _read(answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind, dec_hook=values.decode)
    except msgspec.MsgspecError as exc:
        raise Failed(
            Hop.HTTP, f"the answer is not understood: {exc}", "is this amphoractl older than it?"
        ) from exc
