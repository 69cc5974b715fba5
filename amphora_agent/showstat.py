# SPDX-License-Identifier: Apache-2.0
"""Answers of haproxy's stats socket to `show info` and `show stat`, read into values.

Formats: HAProxy management guide, "Statistics format" (CSV) and "show info". Columns are found by
the names in the header line, never by position: each release adds some and moves others. Text in
a few columns comes from members (what they answer to a health check), so nothing here trusts it.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, TypeVar

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
_SERVING = frozenset({"OPEN", "FULL"})
_COUNTER_MAX = 2**64 - 1
_EXCERPT_LENGTH = 80

T = TypeVar("T")


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """One server row.

    Attributes:
        status: in haproxy's words, such as `UP`, `UP 1/3`, `no check`, `MAINT`.
        weight: the effective one.
    """

    name: str
    status: str
    weight: int


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
        return bool(self.frontends) and all(item.status in _SERVING for item in self.frontends)


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
    frontends: dict[str, Frontend] = {}
    states: dict[str, str] = {}
    servers: dict[str, dict[str, Server]] = {}
    for row in _rows(text):
        if row.type == _FRONTEND:
            _add(frontends, row.pxname, _frontend(row))
        elif row.type == _BACKEND:
            _add(states, row.pxname, row.status)
        elif row.type == _SERVER:
            server = Server(
                name=row.svname, status=row.status, weight=_number(row.weight, "weight")
            )
            _add(servers.setdefault(row.pxname, {}), row.svname, server)
    backends = (
        Backend(name=name, status=status, servers=tuple(servers.get(name, {}).values()))
        for name, status in states.items()
    )
    return tuple(frontends.values()), tuple(backends)


class _Row(NamedTuple):
    """The columns that are used, by haproxy's names."""

    type: str
    pxname: str
    svname: str
    status: str
    weight: str
    scur: str
    bin: str
    bout: str
    ereq: str
    stot: str


def _rows(text: str) -> Iterator[_Row]:
    if not text.startswith("# "):
        raise ParseError("haproxy's answer to `show stat` has no header", _excerpt(text))
    if not text.endswith("\n\n"):
        raise ParseError("haproxy's answer to `show stat` is cut off", _excerpt(text, tail=True))
    begin = text.index("\n") + 1
    header = text[2 : begin - 1].split(",")
    try:
        indexes = [header.index(column) for column in _Row._fields]
    except ValueError as exc:
        raise ParseError("haproxy's `show stat` is not the CSV it should be", str(exc)) from exc
    pick = itemgetter(*indexes)
    for number, cells in enumerate(_cells(text, begin, len(header), max(indexes) + 1), start=2):
        if cells is None:
            raise ParseError(
                f"line {number} of haproxy's `show stat` does not have {len(header)} columns"
            )
        yield _Row._make(pick(cells))


def _cells(text: str, begin: int, columns: int, used: int) -> Iterator[list[str] | None]:
    """The first `used` cells, or more, of each row from `begin` on; None for a wrong length."""
    if '"' not in text:
        # Three times as fast; a row has some hundred columns, and most of what is used stands in
        # front. Without quotes a comma or a line end is never data.
        while (end := text.index("\n", begin)) > begin:
            line = text[begin:end]
            yield line.split(",", used) if line.count(",") == columns - 1 else None
            begin = end + 1
        return
    # Lines end with LF only: a CR is data, which haproxy quotes.
    reader = csv.reader(io.StringIO(text[begin:-1], newline="\n"), strict=True)
    try:
        for cells in reader:
            yield cells if len(cells) == columns else None
    except csv.Error as exc:
        raise ParseError("haproxy's `show stat` is not the CSV it should be", str(exc)) from exc


def _frontend(row: _Row) -> Frontend:
    return Frontend(
        name=row.pxname,
        status=row.status,
        sessions=_number(row.scur, "scur"),
        bytes_in=_number(row.bin, "bin"),
        bytes_out=_number(row.bout, "bout"),
        request_errors=_number(row.ereq, "ereq"),
        sessions_total=_number(row.stot, "stot"),
    )


def _add(table: dict[str, T], name: str, value: T) -> None:
    if name in table:
        raise ParseError("haproxy's `show stat` names one thing twice", _excerpt(name))
    table[name] = value


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
