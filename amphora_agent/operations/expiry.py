# SPDX-License-Identifier: Apache-2.0
"""How long certificates last: those of the API, and those that haproxy serves with."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from amphora_agent import x509
from amphora_agent.errors import ParseError
from amphora_agent.layout import is_object_id
from amphora_agent.settings import Settings

LOG = logging.getLogger(__name__)

# Days before the end at which a certificate is told of. Octavia's housekeeping renews the API's
# own 14 days before (cert_expiry_buffer), so that 21 is the normal state once a month.
_TOLD_AT_DAYS = (0, 7, 14, 21)
_S_PER_DAY = 86400


class Kind(StrEnum):
    """What a certificate is for."""

    SERVER = "server"
    CLIENT_CA = "client CA"
    LOAD_BALANCER = "load balancer"


_NEXT_STEPS = {
    Kind.SERVER: "Octavia's housekeeping service renews it 14 days before: see whether it runs, or"
    " fail the amphora over",
    Kind.CLIENT_CA: "once it has ended no controller can connect: renew the CA of the controllers",
    Kind.LOAD_BALANCER: "renew it in the store that the listener or pool has it from",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Expiry:
    """The end of a certificate, or of the first to end in its file.

    Attributes:
        lb_id: the load balancer that has it; empty for those of the API.
        not_after: None when the file cannot be read.
        problem: why it cannot.
    """

    kind: Kind
    path: Path
    lb_id: str = ""
    not_after: datetime | None = None
    problem: str = ""

    def days_left(self, now: datetime) -> float | None:
        """Days to the end, negative after it."""
        return (self.not_after - now).total_seconds() / _S_PER_DAY if self.not_after else None


def expiries(settings: Settings) -> list[Expiry]:
    """Every certificate that this amphora serves with or trusts, in the order of the paths.

    Files are read anew; a thousand take some 50 ms.
    """
    places = [
        (Kind.SERVER, settings.agent_server_cert, ""),
        (Kind.CLIENT_CA, settings.agent_server_ca, ""),
        *((Kind.LOAD_BALANCER, path, path.parent.name) for path in _of_load_balancers(settings)),
    ]
    found = (_expiry(kind, path, lb_id) for kind, path, lb_id in places)
    return [expiry for expiry in found if expiry is not None]


def _of_load_balancers(settings: Settings) -> Iterator[Path]:
    for path in sorted(settings.base_cert_dir.glob("*/*.pem")):
        if is_object_id(path.parent.name):
            yield path


def _expiry(kind: Kind, path: Path, lb_id: str) -> Expiry | None:
    """None for a file without certificates: lists of them and of revoked ones are named alike."""
    try:
        dates = x509.validities(path.read_text(encoding="ascii", errors="replace"))
    except (OSError, ParseError) as exc:
        problem = (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
        return Expiry(kind=kind, path=path, lb_id=lb_id, problem=problem)
    if not dates:
        return None
    end = min(each.not_after for each in dates)
    return Expiry(kind=kind, path=path, lb_id=lb_id, not_after=end)


class Watch:
    """Tells in the log when a certificate is about to end: 21, 14 and 7 days before, and then.

    Each is told of once in each of these spans, from the start of the agent on.

    Args:
        clock: the time now.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        # The span in which a certificate was told of last.
        self._told: dict[tuple[Path, datetime], int] = {}

    def look(self, settings: Settings) -> None:
        """Look at all of them; to be called once an hour or so."""
        now = self._clock()
        told: dict[tuple[Path, datetime], int] = {}
        for expiry in expiries(settings):
            if expiry.not_after is None:
                continue
            days = (expiry.not_after - now).total_seconds() / _S_PER_DAY
            span = next((limit for limit in _TOLD_AT_DAYS if days <= limit), None)
            if span is None:
                continue
            key = (expiry.path, expiry.not_after)
            if self._told.get(key) != span:
                _tell(expiry, expiry.not_after, days)
            told[key] = span
        self._told = told


def _tell(expiry: Expiry, end: datetime, days: float) -> None:
    is_due = days <= 14 or expiry.kind is not Kind.SERVER
    LOG.log(
        logging.ERROR if days <= 0 else logging.WARNING if is_due else logging.INFO,
        "The %s certificate %s %s, on %s; %s",
        expiry.kind,
        expiry.path,
        "has ended" if days <= 0 else f"ends in {int(days)} days",
        f"{end:%Y-%m-%d %H:%M} UTC",
        _NEXT_STEPS[expiry.kind],
    )
