# SPDX-License-Identifier: Apache-2.0
"""What must outlive the watch: the statuses that are known, and the events that are to be told.

A status and the events that its change makes go into one transaction of SQLite. So a watch that is
killed has either noted both, or finds the same change again with the next heartbeat. Each sink has
a mark of its own up to which it was told everything.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from amphora_controller.errors import ControllerError
from amphora_controller.watch.changes import Event, Known

_NAME = "watch.db"
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE amphora (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE event (number INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
CREATE TABLE sink (name TEXT PRIMARY KEY, told INTEGER NOT NULL) WITHOUT ROWID;
"""
# Another thread's transaction is a single small write.
_BUSY_S = 10.0
# About 300 bytes each.
_KEPT_EVENTS = 10_000


class NotStored(Exception):
    """Nothing was written; the disk is full, or the file cannot be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbered:
    """An event in the store; numbers go up by one."""

    number: int
    event: Event

    def document(self) -> dict[str, Any]:
        """As it is told: plain JSON."""
        told: dict[str, Any] = msgspec.to_builtins(self.event)
        return {"number": self.number, **told}


class Store:
    """A store in a file, or in memory alone.

    Each thread has one of its own; all see the same file.

    Args:
        path: None keeps everything in memory.
        kept: events that may wait; the oldest beyond are given up.
    """

    def __init__(self, path: Path | None, *, kept: int = _KEPT_EVENTS) -> None:
        self._kept = kept
        self._database = _opened(path)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def known(self) -> dict[str, Known]:
        """Every amphora that is known, by its id."""
        rows = self._database.execute("SELECT body FROM amphora").fetchall()
        found = [msgspec.json.decode(body, type=Known) for (body,) in rows]
        return {known.amphora_id: known for known in found}

    def record(self, known: Known, events: Sequence[Event]) -> list[Numbered]:
        """Note what is known of an amphora, and the events that belong to it: all or nothing.

        Raises:
            NotStored: nothing was.
        """
        with self._transaction():
            self._database.execute(
                "INSERT OR REPLACE INTO amphora VALUES (?, ?)",
                (known.amphora_id, msgspec.json.encode(known)),
            )
            numbered = [Numbered(number=self._add(event), event=event) for event in events]
            if numbered:
                self._prune()
        return numbered

    def forget(self, amphora_id: str) -> None:
        """Know nothing of an amphora any more; what is to be told of it stays.

        Raises:
            NotStored: it is still known.
        """
        with self._transaction():
            self._database.execute("DELETE FROM amphora WHERE id = ?", (amphora_id,))

    def add_sink(self, name: str) -> None:
        """Keep events for a sink from now on; for one that is known nothing changes.

        Raises:
            NotStored: none are kept.
        """
        with self._transaction():
            self._database.execute(
                "INSERT OR IGNORE INTO sink VALUES "
                "(?, (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence))",
                (name,),
            )

    def next_for(self, sink: str) -> Numbered | None:
        """The oldest event that a sink was not told."""
        row = self._database.execute(
            "SELECT number, body FROM event WHERE number > "
            "(SELECT told FROM sink WHERE name = ?) ORDER BY number LIMIT 1",
            (sink,),
        ).fetchone()
        if row is None:
            return None
        number, body = row
        return Numbered(number=number, event=msgspec.json.decode(body, type=Event))

    def told(self, sink: str, number: int) -> None:
        """Note that a sink was told everything up to a number.

        Raises:
            NotStored: it will be told again.
        """
        with self._transaction():
            self._database.execute("UPDATE sink SET told = ? WHERE name = ?", (number, sink))
            self._prune()

    def waiting(self, sink: str) -> int:
        """How many events a sink was not told yet."""
        (count,) = self._database.execute(
            "SELECT COUNT(*) FROM event WHERE number > (SELECT told FROM sink WHERE name = ?)",
            (sink,),
        ).fetchone()
        return int(count)

    def dropped(self, sink: str) -> int:
        """How many events were given up before a sink could be told, since its last success."""
        told, first = self._database.execute(
            "SELECT told, (SELECT MIN(number) FROM event WHERE number > told) FROM sink "
            "WHERE name = ?",
            (sink,),
        ).fetchone()
        return 0 if first is None else int(first) - int(told) - 1

    def _add(self, event: Event) -> int:
        cursor = self._database.execute(
            "INSERT INTO event (body) VALUES (?)", (msgspec.json.encode(event),)
        )
        return cursor.lastrowid or 0  # an INSERT always has one

    def _prune(self) -> None:
        """Remove what every sink was told, and the oldest beyond what is kept."""
        self._database.execute(
            "DELETE FROM event WHERE number <= COALESCE((SELECT MIN(told) FROM sink), "
            "(SELECT MAX(number) FROM event)) "
            "OR number <= (SELECT MAX(number) FROM event) - ?",
            (self._kept,),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            with self._database:
                yield
        except sqlite3.Error as exc:
            raise NotStored(str(exc)) from exc


def path_in(directory: Path) -> Path:
    """The file of a state directory."""
    return directory / _NAME


@contextmanager
def owned(directory: Path) -> Iterator[Path]:
    """Make a state directory, or take it, for this watch alone; gives the file in it.

    A file that is damaged is kept as `watch.db.damaged`, and nothing is known.

    Raises:
        ControllerError: it cannot be made, or another watch has it.
    """
    path = path_in(directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise _unusable(directory, exc) from exc
    try:
        _lock(handle, directory)
        _set_aside_if_damaged(path)
        yield path
    finally:
        os.close(handle)


def _lock(handle: int, directory: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise ControllerError(
            f"another watch uses {directory}", "end it, or name another directory with --state"
        ) from exc
    except OSError as exc:
        raise _unusable(directory, exc) from exc


def _unusable(directory: Path, error: OSError) -> ControllerError:
    return ControllerError(
        f"{directory} cannot be used", f"{error.strerror}; --state names another directory"
    )


def _set_aside_if_damaged(path: Path) -> None:
    try:
        with closing(_connected(path)) as database:
            # Reads every page; some megabytes at most.
            if database.execute("PRAGMA quick_check").fetchone() == ("ok",):
                return
    except sqlite3.OperationalError as exc:
        raise ControllerError(f"{path} cannot be used", str(exc)) from exc
    except sqlite3.DatabaseError:
        pass
    path.rename(path.with_name(f"{path.name}.damaged"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _opened(path: Path | None) -> sqlite3.Connection:
    database = _connected(path)
    with closing(database.execute("PRAGMA user_version")) as row:
        (version,) = row.fetchone()
    if version == 0:
        database.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
        )
    elif version != _SCHEMA_VERSION:
        database.close()
        raise ControllerError(
            f"{path} was written by another version of amphoractl",
            "name another directory with --state, or go back to that version",
        )
    return database


def _connected(path: Path | None) -> sqlite3.Connection:
    database = sqlite3.connect(
        ":memory:" if path is None else path, timeout=_BUSY_S, isolation_level=None
    )
    if path is not None:
        database.execute("PRAGMA journal_mode = WAL")
        # What was told to have been noted survives a power failure as well.
        database.execute("PRAGMA synchronous = FULL")
    return database
