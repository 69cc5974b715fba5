# SPDX-License-Identifier: Apache-2.0
"""How the parts of an amphora are."""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct


class Verdict(StrEnum):
    """How a part is, the worst last."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    FAILED = "failed"


class Part(Struct, frozen=True, kw_only=True):
    """One part.

    Attributes:
        name: such as `haproxy` or `certificate`.
        object: what of that kind, such as the id of a load balancer; empty if there is one only.
        reason: why it is not ok, or what was seen.
    """

    name: str
    object: str = ""
    state: Verdict
    reason: str


class Health(Struct, frozen=True, kw_only=True):
    """All parts; the state is that of the worst."""

    state: Verdict
    parts: tuple[Part, ...]


def health(parts: Iterable[Part]) -> Health:
    """The whole of the parts."""
    found = tuple(parts)
    order = list(Verdict)
    worst = max((part.state for part in found), key=order.index, default=Verdict.OK)
    return Health(state=worst, parts=found)
