# SPDX-License-Identifier: Apache-2.0
"""The ledger's file."""

from pathlib import Path

from amphora_agent.errors import ParseError
from amphora_agent.heartbeat import ledger as ledgers
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.sender.journal import Journal
from amphora_agent.system import files
from amphora_agent.system.last_line import LastLineFile

# Some hundred bytes for each listener; not readable by all, as upstream's file is not.
_COUNTERS_MODE = 0o640


class CounterFile:
    """The ledger's file."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self._journal = journal
        self._file = LastLineFile(path, mode=_COUNTERS_MODE)
        self._saved: Ledger | None = Ledger()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def load(self, sources: frozenset[str]) -> Ledger:
        """Read the ledger, with the accounts of all `sources` lost if the file is damaged."""
        try:
            self._saved = found = ledgers.load(self.path.read_bytes())
        except FileNotFoundError:
            return Ledger()
        except ParseError as exc:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            self._journal.warning(
                f"{self.path}: {exc}; kept as {aside.name}, traffic counts from now on"
            )
            try:
                files.rename(self.path, aside)
            except OSError as error:
                self._journal.warning(f"{self.path} cannot be renamed: {error}")
            return Ledger(lost=sources)
        except OSError as exc:
            self._journal.warning(f"{self.path} cannot be read: {exc}; traffic counts from now on")
            return Ledger(lost=sources)
        return found

    def save(self, ledger: Ledger) -> None:
        """Write the ledger if it differs from the file; a failure is tried again the next time.

        Not synchronised: after a power cut other processes count, from zero, so that only traffic
        that nobody could be told of would be lost with the file. One that cannot be written, on a
        full disk for instance, is emptied: as it is, a restart would bill from it what was sent
        since.
        """
        if ledger == self._saved:
            return
        try:
            self._file.write(ledgers.dump(ledger))
        except OSError as exc:
            self._journal.trouble("counters", f"{self.path} cannot be written", str(exc))
            files.empty(self.path)
            self._saved = None
            return
        self._saved = ledger
        self._journal.fine("counters", f"{self.path} is written again")
