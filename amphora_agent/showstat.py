# SPDX-License-Identifier: Apache-2.0
"""Answers of haproxy's stats socket to `show info` and `show stat`, read into values.

Formats: HAProxy management guide, "Statistics format" (CSV) and "show info". Columns are found by
the names in the header line, never by position: each release adds some and moves others. Text in
a few columns comes from members (what they answer to a health check), so nothing here trusts it.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from amphora_agent.errors import ParseError

# Both on one connection: one process answers both, so that the counters surely belong to the worker
# that is named, even while a reload goes on. 7 asks for frontends (1), backends (2) and servers (4)
# and leaves out the rows of single sockets.
INFO_QUERY = "show info"
STAT_QUERY = "show stat -1 7 -1"

# The master of haproxy's processes knows those that a reload replaced and that still serve the
# connections they have; through its socket they can be asked for their frontends.
PROCESSES_QUERY = "show proc"
_OLD_WORKERS = "# old workers"

_FRONTEND, _BACKEND, _SERVER = "0", "1", "2"  # the column `type`
_COUNTERS = ("scur", "bin", "bout", "ereq", "stot")
_SERVING = frozenset({"OPEN", "FULL"})
_COUNTER_MAX = 2**64 - 1
_EXCERPT_LENGTH = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """The process that answered; counters start from zero in each one.

    Attributes:
        pid: process id.
        started_s: wall clock at its start, in whole seconds since 1970. haproxy keeps the value,
            so it stays the same when the clock is set later.
        is_stopping: a reload or a stop has come; it serves the connections it has, and no others.
    """

    pid: int
    started_s: int
    is_stopping: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontend:
    """One FRONTEND row; the last four values count from the worker's start.

    Attributes:
        status: OPEN, STOP, PAUSED (since 3.0), or FULL (before 2.6).
        sessions: current ones (`scur`).
        bytes_in, bytes_out, request_errors, sessions_total: `bin`, `bout`, `ereq`, `stot`.
    """

    name: str
    status: str
    sessions: int
    bytes_in: int
    bytes_out: int
    request_errors: int
    sessions_total: int


class Server(NamedTuple):
    """One server row; a tuple, as there may be thousands.

    Attributes:
        status: in haproxy's words, such as `UP`, `UP 1/3`, `no check`, `MAINT`.
        weight: the effective one.
    """

    name: str
    status: str
    weight: int


# Server(...) would call a function of Python for each.
_server = tuple.__new__


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """One BACKEND row, UP or DOWN, with its servers."""

    name: str
    status: str
    servers: tuple[Server, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What one worker said of itself at one moment."""

    worker: Worker
    frontends: tuple[Frontend, ...]
    backends: tuple[Backend, ...]

    @property
    def is_done(self) -> bool:
        """Whether nothing can be counted any more: it is stopping, and every client has gone."""
        return self.worker.is_stopping and not any(item.sessions for item in self.frontends)

    @property
    def is_serving(self) -> bool:
        """Whether it surely is not stopping: that begins with its frontends."""
        states = {item.status for item in self.frontends}
        return bool(states) and states <= _SERVING


def old_worker_query(pid: int) -> str:
    """What to ask a master for one of its old workers; `parse` reads the answer."""
    return f"@!{pid} show info;@!{pid} show stat -1 1 -1"


def parse_old_workers(text: str) -> list[int]:
    """Process ids of the old workers in the answer to `show proc` ("master CLI").

    Raises:
        ParseError: it is not such an answer.
    """
    if not text.startswith("#<PID>"):
        raise ParseError("haproxy's answer to `show proc` has no header", _excerpt(text))
    section = ""
    pids = []
    for line in text.split("\n"):
        words = line.split()
        if line.startswith("#"):
            section = line.strip()
        elif section == _OLD_WORKERS and len(words) > 1 and words[1] == "worker":
            pids.append(_number(words[0], "PID"))
    return pids


def parse(text: str) -> Snapshot:
    """Read the answers to `INFO_QUERY` and `STAT_QUERY`, one after the other.

    Raises:
        ParseError: the answer is cut off or is not what haproxy prints.
    """
    info, blank_line, stat = text.partition("\n\n")
    if not blank_line:
        raise ParseError("haproxy's answer to `show info` is cut off", _excerpt(text))
    frontends, backends = parse_stat(stat)
    return Snapshot(worker=parse_info(info), frontends=frontends, backends=backends)


def parse_info(text: str) -> Worker:
    """Read the lines of `show info`.

    Raises:
        ParseError: `Pid` or `Start_time_sec` is missing or not a number.
    """
    values = dict(line.split(": ", 1) for line in text.split("\n") if ": " in line)
    try:
        pid, started = values["Pid"], values["Start_time_sec"]
    except KeyError as exc:
        raise ParseError(f"haproxy's `show info` has no line {exc}", _excerpt(text)) from exc
    return Worker(
        pid=_number(pid, "Pid"),
        started_s=_number(started, "Start_time_sec"),
        is_stopping=values.get("Stopping", "0") != "0",
    )


def parse_stat(text: str) -> tuple[tuple[Frontend, ...], tuple[Backend, ...]]:
    """Read the CSV of `show stat`, with the blank line that ends it.

    Servers of a backend that has no row of its own are left out.

    Raises:
        ParseError: no header, a missing column, a cut row, a wrong number, a name given twice, or
            no blank line at the end (then the answer was cut off between two rows).
    """
    if not text.startswith("# "):
        raise ParseError("haproxy's answer to `show stat` has no header", _excerpt(text))
    if not text.endswith("\n\n"):
        raise ParseError("haproxy's answer to `show stat` is cut off", _excerpt(text, tail=True))
    begin = text.index("\n") + 1
    columns = _columns(text[2 : begin - 1])
    frontends: dict[str, Frontend] = {}
    states: dict[str, str] = {}
    servers: dict[str, dict[str, Server]] = {}
    weights: dict[str, int] = {}
    # This loop is most of what a heartbeat with many members costs.
    for cells in _rows(text, begin, columns):
        kind, proxy, name, status, weight = columns.names(cells)
        if kind == _SERVER:
            if weight not in weights:
                weights[weight] = _number(weight, "weight")
            table = servers.setdefault(proxy, {})
            if name in table:
                raise _twice(name)
            table[name] = _server(Server, (name, status, weights[weight]))
        elif kind == _FRONTEND:
            if proxy in frontends:
                raise _twice(proxy)
            frontends[proxy] = _frontend(proxy, status, columns.counters(cells))
        elif kind == _BACKEND:
            if proxy in states:
                raise _twice(proxy)
            states[proxy] = status
    backends = (
        Backend(name=name, status=status, servers=tuple(servers.get(name, {}).values()))
        for name, status in states.items()
    )
    return tuple(frontends.values()), tuple(backends)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Columns:
    """Where things stand in a row.

    Attributes:
        count: of all columns.
        used: of those up to the last one that is read.
        names: reads type, pxname, svname, status and weight.
        counters: reads those of `_COUNTERS`.
    """

    count: int
    used: int
    names: Callable[[Sequence[str]], tuple[str, ...]]
    counters: Callable[[Sequence[str]], tuple[str, ...]]


@lru_cache(maxsize=4)  # a worker prints the same header in each answer
def _columns(header: str) -> _Columns:
    found = header.split(",")
    try:
        names = [found.index(name) for name in ("type", "pxname", "svname", "status", "weight")]
        counters = [found.index(name) for name in _COUNTERS]
    except ValueError as exc:
        raise ParseError("haproxy's `show stat` is not the CSV it should be", str(exc)) from exc
    return _Columns(
        count=len(found),
        used=max(*names, *counters) + 1,
        names=itemgetter(*names),
        counters=itemgetter(*counters),
    )


def _rows(text: str, begin: int, columns: _Columns) -> Iterator[list[str]]:
    """The first `used` cells, or more, of each row from `begin` on."""
    if '"' in text:
        yield from _quoted_rows(text, begin, columns)
        return
    # Three times as fast; a row has some hundred columns, and most of what is used stands in front.
    # Without quotes a comma or a line end is never data.
    for number, line in enumerate(text[begin - 1 :].partition("\n\n")[0].split("\n")[1:], 2):
        if line.count(",") != columns.count - 1:
            raise _wrong_length(number, columns)
        yield line.split(",", columns.used)


def _quoted_rows(text: str, begin: int, columns: _Columns) -> Iterator[list[str]]:
    # Lines end with LF only: a CR is data, which haproxy quotes.
    reader = csv.reader(io.StringIO(text[begin:-1], newline="\n"), strict=True)
    try:
        for number, cells in enumerate(reader, 2):
            if len(cells) != columns.count:
                raise _wrong_length(number, columns)
            yield cells
    except csv.Error as exc:
        raise ParseError("haproxy's `show stat` is not the CSV it should be", str(exc)) from exc


def _wrong_length(number: int, columns: _Columns) -> ParseError:
    return ParseError(
        f"line {number} of haproxy's `show stat` does not have {columns.count} columns"
    )


def _frontend(name: str, status: str, counters: Iterable[str]) -> Frontend:
    sessions, bytes_in, bytes_out, request_errors, sessions_total = map(
        _number, counters, _COUNTERS
    )
    return Frontend(
        name=name,
        status=status,
        sessions=sessions,
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        request_errors=request_errors,
        sessions_total=sessions_total,
    )


def _twice(name: str) -> ParseError:
    return ParseError("haproxy's `show stat` names one thing twice", _excerpt(name))


def _number(text: str, column: str) -> int:
    # haproxy leaves a counter empty where it does not apply. int() alone would take signs, spaces,
    # underscores and the digits of every script.
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= len(str(_COUNTER_MAX)):
        number = int(text)
        if number <= _COUNTER_MAX:
            return number
    raise ParseError(f"haproxy's `{column}` is not a counter", _excerpt(text))


def _excerpt(text: str, *, tail: bool = False) -> str:
    return repr(text[-_EXCERPT_LENGTH:] if tail else text[:_EXCERPT_LENGTH])
