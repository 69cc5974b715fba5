# SPDX-License-Identifier: Apache-2.0
"""The hops from a controller to an answer of one amphora."""

import datetime
from collections.abc import Iterator, Sequence
from enum import StrEnum

from amphora_controller.amphora.client import Hop
from amphora_controller.amphora.probe import CLOCK, Result, clock
from amphora_controller.doctor.findings import Note, failed, ok, skipped, unknown
from amphora_controller.doctor.questions import Asked, Unverified


class Way(StrEnum):
    """The hops behind the route, in the order in which they are told."""

    TCP = "TCP"
    CLOCK = "clock"
    AMPHORA = "amphora's certificate"
    CONTROLLER = "controller's certificate"
    API = "API"


_HOPS = {
    Hop.ROUTE: Way.TCP,
    Hop.TCP: Way.TCP,
    CLOCK: Way.CLOCK,
    Hop.SERVER_CERTIFICATE: Way.AMPHORA,
    Hop.CLIENT_CERTIFICATE: Way.CONTROLLER,
    Hop.HTTP: Way.API,
}
# What an amphora says or shows has no other cause than what it is.
_CAUSES = (Way.AMPHORA, Way.CONTROLLER, Way.API)
# In the order in which a request comes to them; the clock is told by the first answer.
_ORDER = (Way.TCP, Way.AMPHORA, Way.CONTROLLER, Way.CLOCK, Way.API)


def notes(asked: Asked, way: Way) -> Iterator[Note]:
    """What was found at one hop."""
    last = asked.results[-1]
    if last.hop == Hop.FILES:
        yield unknown(last.message, last.hint)
        return
    explained = _clock_explains(asked)
    if way is Way.CLOCK and explained is not None:
        yield explained
        return
    told = [result for result in asked.results if _HOPS.get(result.hop) is way]
    for result in told:
        yield _note(result, is_cause=way in _CAUSES and explained is None)
        # Without the right API its further answers mean nothing.
        if way is Way.API and not result.well:
            break
    if not told:
        yield _not_told(asked.results, way)


def _note(result: Result, *, is_cause: bool) -> Note:
    if result.well:
        return ok(result.message)
    if result.hop == Hop.ROUTE:
        return failed(
            result.message,
            "nobody answers for the address on its network: is it the amphora's, and does its "
            "server run? `openstack server list --all-projects` on the service project",
        )
    return failed(result.message, result.hint, is_cause=is_cause)


def _not_told(results: Sequence[Result], way: Way) -> Note:
    """A hop that no result is of: the request either passed it or did not come to it."""
    reached = max(_ORDER.index(_HOPS[result.hop]) for result in results if result.hop in _HOPS)
    if reached > _ORDER.index(way):
        return ok("passed")
    return skipped("no request came that far")


def _clock_explains(asked: Asked) -> Note | None:
    """The clock, if it alone is why the amphora's certificate is refused here."""
    shown = asked.unverified
    if shown is None:
        return None
    result = clock(shown.clock, asked.at)
    if result.well or not _is_valid(shown, shown.clock) or _is_valid(shown, asked.at):
        return None
    return failed(
        f"{result.message}, and its certificate is valid by its own clock and not by this one",
        "which of both is wrong? `timedatectl` here, and on the host of the amphora",
    )


def _is_valid(shown: Unverified, at: datetime.datetime) -> bool:
    return shown.valid_from <= at <= shown.valid_until
