# SPDX-License-Identifier: Apache-2.0
"""One amphora, asked over mutual TLS as a controller asks it."""

import datetime
from dataclasses import dataclass, replace

from amphora_controller.amphora.client import Amphora, Failed, Hop
from amphora_controller.amphora.probe import Result, probe, time_of
from amphora_controller.doctor.heard import Sent, sent


@dataclass(frozen=True, kw_only=True, slots=True)
class Unverified:
    """What an amphora shows whose certificate is refused: its clock, and that certificate's dates.

    Whoever has its address could say so; it is good for a hint and nothing else.
    """

    clock: datetime.datetime
    valid_from: datetime.datetime
    valid_until: datetime.datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What came of the questions.

    Attributes:
        at: when it was asked, by the clock of this machine.
        results: of a probe, up to the hop that failed.
    """

    at: datetime.datetime
    results: tuple[Result, ...]
    unverified: Unverified | None = None


def ask(amphora: Amphora, amphora_id: str | None) -> Asked:
    """Go the way of a controller's request, as far as it leads."""
    at = datetime.datetime.now(datetime.UTC)
    results = tuple(probe(amphora, amphora_id=amphora_id, now=at))
    is_refused = not results[-1].well and results[-1].hop == Hop.SERVER_CERTIFICATE
    return Asked(at=at, results=results, unverified=_unverified(amphora) if is_refused else None)


def _unverified(amphora: Amphora) -> Unverified | None:
    try:
        with replace(amphora, is_verified=False).connect() as session:
            certificate = session.certificate
            clock = time_of(session.request("GET", "//"))
    except (Failed, ValueError):
        return None
    if clock is None:
        return None
    return Unverified(
        clock=clock,
        valid_from=certificate.not_valid_before_utc,
        valid_until=certificate.not_valid_after_utc,
    )


def heartbeats_sent(amphora: Amphora) -> Sent | None:
    """What it tells of its heartbeats; None if it does not, as Octavia's own image."""
    try:
        answer = amphora.request("GET", "/2.0/metrics")
    except Failed:
        return None
    return sent(answer.body.decode(errors="replace")) if answer.status == 200 else None
