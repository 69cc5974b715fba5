# SPDX-License-Identifier: Apache-2.0
"""The watch on a terminal: a table that stays in place, or a line for each change."""

import datetime
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from amphora_controller.heartbeat.message import Heartbeat
from amphora_controller.watch.store import Numbered
from amphora_controller.watch.view import Row, View, amount, counted, document, summary, troubles

# Headings, the line below them, and where the cursor is.
_LINES_BESIDE_ROWS = 3


class Screen(Protocol):
    """Where the watch is shown."""

    def changed(self, events: Iterable[Numbered]) -> None:
        """Show what has changed."""

    def heard(self, row: Row, heartbeat: Heartbeat, at: datetime.datetime) -> None:
        """Show a heartbeat, and the amphora as it is after that."""

    def show(self, view: View) -> None:
        """Show everything; called about once a second."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines:
    """One line for each change, in words or as JSON.

    Args:
        notes: gets what is not well with the watch itself.
        heartbeats: also one for each heartbeat; with JSON only.
    """

    def __init__(self, out: TextIO, notes: TextIO, *, as_json: bool, heartbeats: bool) -> None:
        self._out = out
        self._notes = notes
        self._as_json = as_json
        self._heartbeats = heartbeats
        self._said: set[str] = set()

    def changed(self, events: Iterable[Numbered]) -> None:
        """See Screen."""
        for event in events:
            line = json.dumps(event.document()) if self._as_json else sentence(event)
            _print(line, self._out)

    def heard(self, row: Row, heartbeat: Heartbeat, at: datetime.datetime) -> None:
        """See Screen."""
        if self._heartbeats:
            _print(json.dumps(document(row, heartbeat, at)), self._out)

    def show(self, view: View) -> None:
        """Say what is not well with the watch itself, when that is new."""
        found = list(troubles(view))
        for note in found:
            if note.topic not in self._said:
                _print(note.text, self._notes)
        self._said = {note.topic for note in found}

    def close(self) -> None:
        """See Screen."""


def _print(line: str, out: TextIO) -> None:
    # Somebody may be reading at the other end of a pipe.
    print(line, file=out, flush=True)


class LiveTable:
    """A table in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._size = console.size
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def changed(self, events: Iterable[Numbered]) -> None:
        """See Screen: changes scroll by above the table."""
        for event in events:
            self._console.print(Text(sentence(event)))

    def heard(self, row: Row, heartbeat: Heartbeat, at: datetime.datetime) -> None:
        """See Screen."""

    def show(self, view: View) -> None:
        """See Screen."""
        if self._size != (size := self._console.size):
            # The terminal has broken the lines anew: nobody knows where the table begins.
            self._size = size
            self._console.clear()
        self._live.update(drawn(view, self._console), refresh=True)

    def close(self) -> None:
        """See Screen."""
        self._live.stop()


def sentence(numbered: Numbered) -> str:
    """A change in one line."""
    event = numbered.event
    who = "" if event.object_id == event.amphora_id else f" {event.kind} {event.object_id}"
    return (
        f"{event.at:%Y-%m-%d %H:%M:%S} amphora {event.amphora_id} ({event.address}){who}: "
        f"{event.before or 'not there'} -> {event.after or 'not there'}"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """A column of the table.

    Attributes:
        cell: what stands in it.
        from_width: of the terminal; a narrower one goes without.
        is_name: may be cut off, and is on the left.
    """

    heading: str
    cell: Callable[[Row], str]
    from_width: int = 0
    is_name: bool = False


_COLUMNS = (
    _Column(heading="amphora", cell=lambda row: row.amphora_id, is_name=True),
    _Column(heading="address", cell=lambda row: row.address, is_name=True),
    _Column(heading="listeners", cell=lambda row: counted(row.listeners), from_width=60),
    _Column(heading="pools", cell=lambda row: counted(row.pools), from_width=120),
    _Column(heading="members", cell=lambda row: counted(row.members)),
    _Column(
        heading="in B/s",
        cell=lambda row: amount(row.rates.bytes_in if row.rates else None),
        from_width=80,
    ),
    _Column(
        heading="out B/s",
        cell=lambda row: amount(row.rates.bytes_out if row.rates else None),
        from_width=80,
    ),
    _Column(
        heading="new/s",
        cell=lambda row: amount(row.rates.connections if row.rates else None),
        from_width=100,
    ),
    _Column(heading="open", cell=lambda row: amount(row.open_connections), from_width=120),
    _Column(
        heading="heard", cell=lambda row: "SILENT" if row.is_silent else f"{row.unheard_s:.0f} s"
    ),
)
_DAYS = _Column(
    heading="cert days", cell=lambda row: "?" if row.days is None else str(row.days), from_width=70
)


def drawn(view: View, console: Console) -> Group:
    """The table and what stands below it, for a terminal of this size.

    Amphorae that do not fit are left out, those that are well first.
    """
    below = [Text(summary(view)), *(Text(note.text) for note in troubles(view))]
    beside = _LINES_BESIDE_ROWS + sum(len(text.wrap(console, console.width)) for text in below)
    room = max(console.height - beside, 1)
    rows = view.rows
    if len(rows) > room:
        rows = rows[: max(room - 1, 1)]
        below.insert(0, Text(f"… and {len(view.rows) - len(rows)} more"))
    columns = (*_COLUMNS, _DAYS) if view.shows_days else _COLUMNS
    return Group(_table(rows, [one for one in columns if console.width >= one.from_width]), *below)


def _table(rows: Iterable[Row], columns: Iterable[_Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        # Names have no spaces: each is cut off before anything else, and no row has two lines.
        table.add_column(
            column.heading,
            justify="left" if column.is_name else "right",
            overflow="ellipsis",
            no_wrap=not column.is_name,
        )
    for row in rows:
        table.add_row(*(Text(column.cell(row)) for column in columns), style=_style(row))
    return table


def _style(row: Row) -> str:
    if row.is_silent:
        return "bold red"
    return "" if row.is_well else "yellow"
