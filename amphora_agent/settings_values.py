# SPDX-License-Identifier: Apache-2.0
"""Texts of amphora-agent.conf turned into values; each converter says what would have been right.

Pure. All of them raise BadValue.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Controller:
    """Where heartbeats go: an address or a name, and a UDP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class BadValue(ValueError):
    """The text says what would have been right."""


# The names of syslog(3).
_FACILITY_NAMES = frozenset(
    f"LOG_{name}"
    for name in (
        *("KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON"),
        *("AUTHPRIV", "FTP", *(f"LOCAL{number}" for number in range(8))),
    )
)


def boolean(value: str) -> bool:
    """True or False, in the words that oslo.config knows."""
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    try:
        return words[value.lower()]
    except KeyError:
        raise BadValue("True or False") from None


def absolute(value: str) -> Path:
    """An absolute path, without `..`."""
    path = Path(value)
    if not path.is_absolute() or ".." in path.parts or "\0" in value:
        raise BadValue("an absolute path without '..'")
    return path


def address(value: str) -> str:
    """An IP address, in its shortest form."""
    try:
        return str(ip_address(value))
    except ValueError:
        raise BadValue("an IPv4 or IPv6 address; :: listens on both") from None


def port(value: str) -> int:
    """A UDP or TCP port."""
    try:
        number = int(value)
    except ValueError:
        number = 0
    if not 1 <= number <= 65535:
        raise BadValue("a port number from 1 to 65535")
    return number


def positive(value: str) -> int:
    """Whole seconds, at least 1."""
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise BadValue("a whole number of seconds, at least 1")
    return number


def interval(value: str) -> float:
    """Seconds from 0.05 to 86400."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 86400:
        raise BadValue("a number of seconds from 0.05 to 86400")
    return seconds


def message_version(value: str) -> int:
    """The version of heartbeats' messages."""
    if value not in {"1", "2", "3"}:
        raise BadValue("1 for Octavia before Train, 2 for Train and Ussuri, 3 since Victoria")
    return int(value)


def datagram_size(value: str) -> int:
    """Bytes that fit a datagram."""
    number = int(value) if value.isascii() and value.isdigit() else 0
    if not 1_000 <= number <= 65_507:
        raise BadValue("a number of bytes from 1000 to 65507, the most that UDP carries")
    return number


def local_facility(value: str) -> int:
    """N of syslog's facility LOCALN."""
    try:
        number = int(value)
    except ValueError:
        number = -1
    if not 0 <= number <= 7:
        raise BadValue("the number of a local facility of syslog, 0 to 7")
    return number


def facility_name(value: str) -> str:
    """A facility by its name in syslog(3); `LOG_` may be left out."""
    name = value.upper()
    name = name if name.startswith("LOG_") else f"LOG_{name}"
    if name not in _FACILITY_NAMES:
        raise BadValue("the name of a facility of syslog, such as LOG_LOCAL1")
    return name


def key(value: str) -> str | None:
    """The heartbeat key; None for the word that a controller writes where it has none."""
    return None if value == "None" else value


def amphora_id(value: str) -> str:
    """A UUID, as it is written."""
    # The controller compares it with the id in its database, letter by letter.
    parts = value.split("-")
    if [len(part) for part in parts] != [8, 4, 4, 4, 12] or not all(
        digit in "0123456789abcdefABCDEF" for part in parts for digit in part
    ):
        raise BadValue("the UUID of the amphora, such as 01234567-89ab-cdef-0123-456789abcdef")
    return value


def controllers(value: str) -> tuple[tuple[Controller, ...], tuple[str, ...]]:
    """Split a list of `ip:port`, `[ipv6]:port` and bare `ipv6:port`; one bad entry hides no other.

    A bare IPv6 address with a port is cut at its last colon.
    """
    good: list[Controller] = []
    bad: list[str] = []
    for entry in (part.strip() for part in value.split(",")):
        if not entry:
            continue
        host, _, number = entry.rpartition(":")
        try:
            good.append(Controller(_host(host), port(number)))
        except ValueError:
            bad.append(entry)
    return tuple(good), tuple(bad)


def _host(value: str) -> str:
    if value.startswith("[") and value.endswith("]"):
        return str(IPv6Address(value[1:-1]))
    if ":" in value:
        return str(IPv6Address(value))
    if not value or any(letter.isspace() for letter in value):
        raise BadValue("an address or a host name")
    return value
