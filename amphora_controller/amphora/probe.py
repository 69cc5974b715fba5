# SPDX-License-Identifier: Apache-2.0
"""Whether an amphora can be driven from here, hop by hop."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from cryptography import x509

from amphora_controller.amphora.client import Amphora, Answer, Failed, Hop, another_amphora

# Octavia's housekeeping renews certificates this long before they expire.
_RENEWAL_DAYS = 14
# Certificates that have just been made are refused by a clock that is further behind.
_SKEW_MAX = datetime.timedelta(seconds=30)

CLOCK = "amphora's clock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was found at one hop.

    Attributes:
        hint: what to do; empty when all is well.
    """

    hop: str
    well: bool
    message: str
    hint: str = ""


def probe(amphora: Amphora, *, amphora_id: str | None, now: datetime.datetime) -> Iterator[Result]:
    """Go the way of a controller's request, as far as it leads.

    Args:
        amphora_id: the UUID that the amphora's certificate must name; None to be told it.
        now: aware.
    """
    try:
        with amphora.connect() as session:
            yield Result(hop=Hop.TCP, well=True, message=f"connected to {amphora.address}")
            yield _identity(session.names, amphora_id)
            yield _days(session.certificate, now)
            # The session is over with the answer.
            version = session.tls_version
            answer = session.request("GET", "//")
            yield Result(hop=Hop.CLIENT_CERTIFICATE, well=True, message=f"accepted ({version})")
        yield _version(answer)
        yield clock(time_of(answer), now)
        yield _info(amphora.request("GET", "/1.0/info"))
    except Failed as exc:
        yield Result(hop=exc.hop, well=False, message=exc.message, hint=exc.hint)


def _identity(names: tuple[str, ...], amphora_id: str | None) -> Result:
    if amphora_id is not None and amphora_id not in names:
        failed = another_amphora("it", names, amphora_id)
        return Result(hop=failed.hop, well=False, message=failed.message, hint=failed.hint)
    if not names:
        return Result(
            hop=Hop.SERVER_CERTIFICATE,
            well=False,
            message="it names no amphora (subjectAltName)",
            hint="it was not made by Octavia's certificate generator",
        )
    return Result(hop=Hop.SERVER_CERTIFICATE, well=True, message=f"it names {', '.join(names)}")


def _days(certificate: x509.Certificate, now: datetime.datetime) -> Result:
    days = (certificate.not_valid_after_utc - now).days
    if days < _RENEWAL_DAYS:
        return Result(
            hop=Hop.SERVER_CERTIFICATE,
            well=False,
            message=f"it is valid for {days} days more, and was not renewed",
            hint="does octavia-housekeeping run, and does its log say why it does not renew it?",
        )
    return Result(
        hop=Hop.SERVER_CERTIFICATE, well=True, message=f"it is valid for {days} days more"
    )


def _version(answer: Answer) -> Result:
    version = _field(answer, "api_version")
    if answer.status != 200 or version != "1.0":
        return Result(
            hop=Hop.HTTP,
            well=False,
            message=f"GET // was answered with status {answer.status}, API version {version!r}",
            hint="controllers since Train need 1.0: is the image older?",
        )
    return Result(hop=Hop.HTTP, well=True, message="API version 1.0")


def time_of(answer: Answer) -> datetime.datetime | None:
    """When an answer was made, by the amphora's clock; None if it does not tell."""
    try:
        return parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None


def clock(theirs: datetime.datetime | None, now: datetime.datetime) -> Result:
    """Whether two clocks agree well enough."""
    if theirs is None:
        return Result(hop=CLOCK, well=True, message="the answer tells no time")
    skew = theirs - now
    seconds = round(skew.total_seconds())
    if abs(skew) > _SKEW_MAX:
        return Result(
            hop=CLOCK,
            well=False,
            message=f"it is {abs(seconds)} s {'ahead' if seconds > 0 else 'behind'}",
            hint="certificates go by it: does the host of the amphora have the right time?",
        )
    return Result(hop=CLOCK, well=True, message=f"{abs(seconds)} s apart")


def _info(answer: Answer) -> Result:
    haproxy = _field(answer, "haproxy_version")
    numbers = str(haproxy).split(".")
    if answer.status != 200 or len(numbers) < 2 or not numbers[0].isdecimal():
        return Result(
            hop=Hop.HTTP,
            well=False,
            message=f"GET info was answered with status {answer.status}, haproxy {haproxy!r}",
            hint="controllers render by the version of haproxy and cannot do without",
        )
    return Result(hop=Hop.HTTP, well=True, message=f"haproxy {haproxy}")


def _field(answer: Answer, name: str) -> Any:
    document = answer.json()
    return document.get(name) if isinstance(document, dict) else None
