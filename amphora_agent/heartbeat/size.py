# SPDX-License-Identifier: Apache-2.0
"""Heartbeats that would be too large for one datagram, made smaller where it harms least.

The controller cannot put a message together from several datagrams, and a listener that is missing
makes it replace the amphora. So only what the controller can do without is left out, in this order:

1. Repeats of a pool: it appears once for each of its listeners, and the controller takes the last.
2. Members that are MAINT: the controller calls a member that is missing OFFLINE, as it calls these.
3. Members with `no check`: it leaves a member that was NO_MONITOR as it is.
4. Members that are well (shown as OFFLINE from then on), then the others; by sixteenths.
5. Pools (shown as OFFLINE, too).
"""

from collections.abc import Iterator

from amphora_agent.heartbeat.message import Message, PoolEntry, encode

# Largest payload of one UDP datagram over IPv4: 65,535 less the IP and UDP headers. The receiver
# reads 65,536 bytes.
DATAGRAM_MAX = 65_507

_SIXTEENTHS = 16
_WHOLE, _NO_REPEATS, _NO_MAINT, _NO_UNCHECKED = range(4)
_NO_MEMBERS = _NO_UNCHECKED + _SIXTEENTHS
_NO_POOLS = _NO_MEMBERS + 1
# A level is left for a better one only when that fits with room to spare: what changes a little
# from one message to the next must not make members come and go.
_SPARE = 0.98


def fit(message: Message, *, key: str, limit: int, level: int = _WHOLE) -> tuple[bytes, int]:
    """The datagram, made smaller if it must be.

    The last level is sent even when it is too large: the kernel then says so.

    Args:
        limit: bytes that the datagram may have.
        level: of the message before; 0 is a whole one.

    Returns:
        The datagram, and the level that it needed.
    """
    data = encode(reduced(message, level), key=key)
    if len(data) > limit:
        return _search(message, key, limit, range(level + 1, _NO_POOLS), b"")
    if level == _WHOLE:
        return data, level
    roomy = int(limit * _SPARE)
    better = encode(reduced(message, level - 1), key=key)
    if len(better) > roomy:
        return data, level
    return _search(message, key, roomy, range(_WHOLE, level - 1), better)


def _search(
    message: Message, key: str, limit: int, levels: range, last: bytes
) -> tuple[bytes, int]:
    """The first of these levels that fits, or else the one after them.

    A higher level is never larger, so half of the levels are ruled out by each try.

    Args:
        last: the datagram of the level after these, if it is known.
    """
    low, high = levels.start, levels.stop
    while low < high:
        middle = (low + high) // 2
        data = encode(reduced(message, middle), key=key)
        if len(data) <= limit:
            high, last = middle, data
        else:
            low = middle + 1
    return last or encode(reduced(message, high), key=key), high


def left_out(level: int) -> str:
    """What a level leaves out, in words; "" for nothing."""
    if level <= _WHOLE:
        return ""
    if level <= _NO_UNCHECKED:
        return (
            "repeats of pools",
            "repeats of pools and members in MAINT",
            "repeats of pools and members in MAINT or without check",
        )[level - 1]
    if level < _NO_MEMBERS:
        share = (level - _NO_UNCHECKED) / _SIXTEENTHS
        return f"{share:.0%} of the members with a check, and all others"
    return "members" if level == _NO_MEMBERS else "members and pools"


def reduced(message: Message, level: int) -> Message:
    """The message without what this level leaves out; never without a listener."""
    if level <= _WHOLE:
        return message
    last = {key.partition(":")[0]: key for key in message["pools"]}
    pools = {key: message["pools"][key] for key in last.values()}
    dropped = frozenset(_dropped(message, pools, level)) if level < _NO_MEMBERS else None
    listeners = {}
    for name, entry in message["listeners"].items():
        listeners[name] = entry.copy()
        if "pools" in entry:  # version 1
            listeners[name]["pools"] = _pools(entry["pools"], level, dropped)
    return {**message, "listeners": listeners, "pools": _pools(pools, level, dropped)}


def _pools(
    pools: dict[str, PoolEntry], level: int, dropped: frozenset[str] | None
) -> dict[str, PoolEntry]:
    if level >= _NO_POOLS:
        return {}
    return {
        key: {
            "status": pool["status"],
            "members": {}
            if dropped is None
            else {name: status for name, status in pool["members"].items() if name not in dropped},
        }
        for key, pool in pools.items()
    }


def _dropped(message: Message, pools: dict[str, PoolEntry], level: int) -> Iterator[str]:
    """Ids of the members that a level between the first and the last leaves out."""
    checked = []
    for name, status in _members(message, pools):
        if status == "MAINT":
            if level >= _NO_MAINT:
                yield name
        elif status == "no check":
            if level >= _NO_UNCHECKED:
                yield name
        else:
            # Those that are well go first; within a kind the id decides, so that it is the same
            # members in every message.
            checked.append((not status.startswith("UP"), name))
    checked.sort()
    count = len(checked) * max(0, level - _NO_UNCHECKED) // _SIXTEENTHS
    for _is_ill, name in checked[:count]:
        yield name


def _members(message: Message, pools: dict[str, PoolEntry]) -> Iterator[tuple[str, str]]:
    for entry in message["listeners"].values():
        for pool in entry.get("pools", {}).values():
            yield from pool["members"].items()
    for pool in pools.values():
        yield from pool["members"].items()
