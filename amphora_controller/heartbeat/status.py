# SPDX-License-Identifier: Apache-2.0
"""What Octavia makes of the words in a heartbeat: operating statuses, by the same rules."""

from enum import StrEnum


class Operating(StrEnum):
    """Octavia's operating statuses, as far as heartbeats set them."""

    ONLINE = "ONLINE"
    DEGRADED = "DEGRADED"
    ERROR = "ERROR"
    OFFLINE = "OFFLINE"
    DRAINING = "DRAINING"
    NO_MONITOR = "NO_MONITOR"

    @property
    def is_well(self) -> bool:
        """Whether nobody has to be told of something that begins or ends like this."""
        return self not in (Operating.DEGRADED, Operating.ERROR)


def of_listener(word: str) -> Operating | None:
    """A listener's; None for a word that leaves its status as it is."""
    return {"OPEN": Operating.ONLINE, "FULL": Operating.DEGRADED}.get(word)


def of_pool(word: str) -> Operating | None:
    """A pool's, before its members are looked at; see of_listener."""
    return {"UP": Operating.ONLINE, "DOWN": Operating.ERROR}.get(word)


def of_member(word: str) -> Operating | None:
    """A member's; `UP 1/3` is up, and RESTARTING leaves its status as it is."""
    if word.startswith("UP"):
        return Operating.ONLINE
    if word.startswith("DOWN"):
        return Operating.ERROR
    return {
        "DRAIN": Operating.DRAINING,
        "MAINT": Operating.OFFLINE,
        "no check": Operating.NO_MONITOR,
    }.get(word)
