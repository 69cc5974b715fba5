# SPDX-License-Identifier: Apache-2.0
"""The dates of certificates.

No more of X.509 is read than leads there (RFC 5280, 4.1), because the libraries that read all of it
would make the agent a third larger, and starting OpenSSL for each of a thousand certificates takes
seconds. Nothing here says whether a certificate is good.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from amphora_agent.errors import ParseError

_CERTIFICATE = re.compile(
    r"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]+?)"
    r"-----END (?:TRUSTED |X509 )?CERTIFICATE-----"
)
_BEGIN = re.compile(r"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")

# Tags of X.690: universal ones, and [0] for the version of a certificate.
_INTEGER = 0x02
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_SEQUENCE = 0x30
_VERSION = 0xA0

# The times of RFC 5280, 4.1.2.5: to the second, and always in UTC.
_TIMES = {
    _UTC_TIME: re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z"),
    _GENERALIZED_TIME: re.compile(rb"(\d\d\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Validity:
    """When a certificate holds, both times included."""

    not_before: datetime
    not_after: datetime


def validity(pem: str) -> Validity | None:
    """The dates of the first certificate in a text; None when there is none in it.

    Raises:
        ParseError: it is none.
    """
    return next(_validities(pem), None)


def validities(pem: str) -> list[Validity]:
    """The dates of every certificate in a text, which may hold other things too, such as keys.

    Raises:
        ParseError: something in it is marked as a certificate and is none.
    """
    return list(_validities(pem))


def warning(dates: Validity, now: datetime) -> str | None:
    """What is wrong with the dates now, if anything is."""
    if now > dates.not_after:
        return f"expired at {dates.not_after:%Y-%m-%dT%H:%M:%SZ}"
    if now < dates.not_before:
        return f"not valid before {dates.not_before:%Y-%m-%dT%H:%M:%SZ}"
    return None


def _validities(pem: str) -> Iterator[Validity]:
    at = 0
    while begin := _BEGIN.search(pem, at):
        found = _CERTIFICATE.match(pem, begin.start())
        if not found:
            raise ParseError("a certificate in it is not in PEM")
        yield _validity(_decoded(found[1]))
        at = found.end()


def _validity(der: bytes) -> Validity:
    certificate = _Reader(der, 0, len(der)).open(_SEQUENCE)
    signed = certificate.open(_SEQUENCE)
    if signed.tag() == _VERSION:
        signed.skip(_VERSION)
    # Serial number, algorithm of the signature, issuer.
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):
        signed.skip(tag)
    dates = signed.open(_SEQUENCE)
    return Validity(not_before=dates.time(), not_after=dates.time())


class _Reader:
    """Reads the elements of a constructed one in order (X.690, distinguished encoding)."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data = data
        self._at = start
        self._end = end

    def tag(self) -> int:
        """The tag of the next element."""
        if self._at >= self._end:
            raise ParseError("the certificate ends too early")
        return self._data[self._at]

    def open(self, tag: int) -> "_Reader":
        """Step over the next element, which has to have this tag; a reader of what is in it."""
        if self.tag() != tag:
            raise ParseError(f"there is an element 0x{self.tag():02x} in place of 0x{tag:02x}")
        start = self._at + 2
        length = int.from_bytes(self._data[self._at + 1 : start])
        if length >= 0x80:
            # The length of the length. Certificates are smaller than what four bytes can say.
            octets = length & 0x7F
            if not 1 <= octets <= 4:
                raise ParseError("the length of an element is not definite")
            length = int.from_bytes(self._data[start : start + octets])
            start += octets
        self._at = start + length
        if self._at > self._end:
            raise ParseError("the certificate ends too early")
        return _Reader(self._data, start, self._at)

    def skip(self, tag: int) -> None:
        """Step over the next element."""
        self.open(tag)

    def time(self) -> datetime:
        """Take a time."""
        tag = self.tag()
        element = self.open(tag)
        text = self._data[element._at : element._end]
        found = _TIMES[tag].fullmatch(text) if tag in _TIMES else None
        if not found:
            raise ParseError("a time of the certificate is not one")
        year, month, day, hour, minute, second = map(int, found.groups())
        if tag == _UTC_TIME:
            year += 2000 if year < 50 else 1900
        try:
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError as exc:
            raise ParseError("a time of the certificate is not one", str(exc)) from exc


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except ValueError as exc:
        raise ParseError("a certificate in it is not in PEM", str(exc)) from exc
