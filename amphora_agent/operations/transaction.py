# SPDX-License-Identifier: Apache-2.0
"""One change of a load balancer: wholly done, or everything is as before.

| step                                              | if the agent dies after it              |
| ------------------------------------------------- | --------------------------------------- |
| new files are written beside, old ones are linked | the next start removes both             |
| the journal is written: how to undo all the rest  | the next start undoes what was done     |
| files are moved into place; services take over    | the same                                |
| the journal says that it is done                  | the next start removes what is left     |

The links cost no space and keep content, mode and age of a file, so that undoing works on a full
disk. Those of secrets lie on the file system of the certificates, which is RAM; after a reboot they
are gone as the certificates themselves are.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from amphora_agent.balancer import values
from amphora_agent.balancer.state import Change, Runs
from amphora_agent.errors import AgentError, StepFailed
from amphora_agent.layout import Layout
from amphora_agent.operations import check_scripts, serving
from amphora_agent.operations.context import Context

LOG = logging.getLogger(__name__)

_PRIVATE = 0o600


@dataclass(frozen=True, kw_only=True, slots=True)
class Transaction:
    """What is to be done.

    Attributes:
        runs: what serves afterwards.
        ran: what serves now, of all that is changed.
        leftovers: what is removed at the end, when nothing uses it any more.
    """

    lb_id: str
    changes: tuple[Change, ...]
    runs: Runs
    ran: Runs
    leftovers: tuple[Path, ...] = ()


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a transaction changes.

    Attributes:
        path: of the file.
        saved: a second name of what it was; None where there was none.
    """

    path: str
    saved: str | None


class _Journal(msgspec.Struct, frozen=True, kw_only=True):
    """How to undo a transaction, or to end it.

    Attributes:
        fresh: directories that were not there before.
        had_check_scripts: those of VRRP, which follow from the other files.
        done: it is to be ended, not to be undone.
    """

    lb_id: str
    files: tuple[_Entry, ...]
    runs: Runs
    ran: Runs
    fresh: tuple[str, ...]
    had_check_scripts: bool
    leftovers: tuple[str, ...]
    done: bool = False

    @property
    def changed(self) -> tuple[Path, ...]:
        """All the files."""
        return tuple(Path(entry.path) for entry in self.files)


def run(context: Context, transaction: Transaction) -> list[str]:
    """Do all of it, or nothing; returns what was done.

    The caller holds the locks of the load balancer, of its UDP and SCTP listeners, of VRRP and of
    the firewall. Earlier changes are settled, and the new files checked.

    Raises:
        StepFailed: it was undone; the details are the words of what failed.
    """
    running = _Running(context, transaction.lb_id)
    try:
        return running.run(transaction)
    except BaseException as exc:
        restored = running.undo()
        if not isinstance(exc, AgentError | OSError):
            raise
        LOG.warning("%s: could not %s: %s", transaction.lb_id, running.step, exc)
        raise StepFailed(running.step, str(exc), refused=False, restored=restored) from exc


def recover(context: Context) -> None:
    """Undo, or end, every transaction that the end of the agent has broken off.

    To be called before the first request. A service that does not come back is the operator's
    business, which the log tells.
    """
    layout = context.settings.layout
    for directory in (layout.transactions_dir, layout.secrets_transactions_dir):
        if directory.is_dir():
            for path in sorted(directory.iterdir()):
                try:
                    _Running(context, path.name).recover()
                except (AgentError, OSError) as exc:
                    LOG.error("What an unfinished change has left stays: %s", exc)


def settle(context: Context, lb_id: str) -> None:
    """The same for one load balancer, whose locks the caller holds.

    Raises:
        AgentError: its journal cannot be read.
        OSError: a file could not be put back.
    """
    _Running(context, lb_id).recover()


@dataclass(slots=True)
class _Running:
    """A transaction under way.

    Attributes:
        step: what is done now.
    """

    context: Context
    lb_id: str
    step: str = "begin"
    _journal: _Journal | None = field(default=None, init=False)

    @property
    def _layout(self) -> Layout:
        return self.context.settings.layout

    def run(self, transaction: Transaction) -> list[str]:
        self._begin("write the new files")
        moves = self._stage(transaction)
        self._begin("note how to undo it")
        self._journal = self._note(transaction)
        self._write(self._journal)
        for new, change in zip(moves, transaction.changes, strict=True):
            self._begin(f"{'write' if new else 'remove'} {change.path}")
            if new:
                self.context.disk.move(new, change.path)
            else:
                self.context.disk.remove(change.path)
        task = serving.Task(
            lb_id=self.lb_id,
            runs=transaction.runs,
            ran=transaction.ran,
            changed=self._journal.changed,
        )
        done = serving.serve(self.context, task, self._begin)
        self._begin("note that it is done")
        journal = msgspec.structs.replace(self._journal, done=True)
        self._write(journal)
        try:
            self._end(journal)
        except OSError as exc:
            LOG.warning("%s: something is left until the next change: %s", self.lb_id, exc)
        return done

    def undo(self) -> bool:
        """Put everything back that was changed; whether that worked."""
        journal = self._journal
        try:
            if journal is not None:
                self._undo(journal)
            self._clear()
        except (AgentError, OSError) as exc:
            LOG.error("%s is not as before, which the next start tries again: %s", self.lb_id, exc)
            return False
        return True

    def recover(self) -> None:
        """Undo or end what there is a journal of, and remove what there is none of."""
        journal = self._read()
        if journal is not None and journal.done:
            self._end(journal)
            return
        if journal is not None:
            LOG.warning("%s: a change was broken off and is undone", self.lb_id)
            try:
                self._undo(journal)
            except AgentError as exc:
                LOG.error("%s is not served as before: %s", self.lb_id, exc)
        self._clear()

    def _begin(self, step: str) -> None:
        self.step = step

    def _stage(self, transaction: Transaction) -> list[Path | None]:
        """Write new files beside; None for those that go."""
        staged: list[Path | None] = []
        for number, change in enumerate(transaction.changes):
            path = self._beside(change.path) / f"new-{number}" if change.after else None
            if path and change.after:
                self.context.disk.write(path, change.after.content, change.after.mode)
            staged.append(path)
        return staged

    def _note(self, transaction: Transaction) -> _Journal:
        """Give what there is a second name."""
        entries = []
        for number, change in enumerate(transaction.changes):
            saved = self._beside(change.path) / f"old-{number}"
            found = self.context.disk.link(change.path, saved)
            entries.append(_Entry(path=str(change.path), saved=str(saved) if found else None))
        layout = self._layout
        own = (layout.lb_dir, layout.cert_dir, layout.revisions_dir)
        return _Journal(
            lb_id=self.lb_id,
            files=tuple(entries),
            runs=transaction.runs,
            ran=transaction.ran,
            fresh=tuple(str(path(self.lb_id)) for path in own if not path(self.lb_id).exists()),
            had_check_scripts=layout.check_script.exists(),
            leftovers=tuple(str(path) for path in transaction.leftovers),
        )

    def _undo(self, journal: _Journal) -> None:
        disk, layout = self.context.disk, self._layout
        noted = self._read()
        if noted is not None and noted.done:
            # That much was written when the write was said to have failed.
            self._write(journal)
        for entry in journal.files:
            # Without its second name a file was put back before, or went with the RAM.
            if entry.saved is None:
                disk.remove(Path(entry.path))
            else:
                disk.move(Path(entry.saved), Path(entry.path))
        ran = Runs(
            haproxy=True,
            lvs=tuple({*journal.runs.lvs, *journal.ran.lvs}),
            vrrp=journal.runs.vrrp or journal.ran.vrrp,
        )
        task = serving.Task(lb_id=self.lb_id, runs=journal.ran, ran=ran, changed=journal.changed)
        serving.serve(self.context, task, lambda _step: None)
        for path in journal.fresh:
            disk.remove_tree(Path(path))
        if str(layout.lb_dir(self.lb_id)) in journal.fresh:
            disk.remove(layout.stats_socket(self.lb_id))
        if not journal.had_check_scripts:
            for script in check_scripts.paths(layout):
                disk.remove(script)

    def _end(self, journal: _Journal) -> None:
        for path in journal.leftovers:
            self.context.disk.remove_tree(Path(path))
        self._clear()

    def _clear(self) -> None:
        # The journal goes first: without it the rest is nothing but what is to be removed.
        self.context.disk.remove(self._layout.journal(self.lb_id))
        self.context.disk.remove_tree(self._layout.transaction_dir(self.lb_id))
        self.context.disk.remove_tree(self._layout.secrets_transaction_dir(self.lb_id))

    def _beside(self, path: Path) -> Path:
        """A directory on the file system of a file."""
        if path.is_relative_to(self._layout.certs):
            return self._layout.secrets_transaction_dir(self.lb_id)
        return self._layout.transaction_dir(self.lb_id)

    def _write(self, journal: _Journal) -> None:
        content = msgspec.json.encode(journal, enc_hook=values.encode)
        self.context.disk.write(self._layout.journal(self.lb_id), content, _PRIVATE)

    def _read(self) -> _Journal | None:
        found = self.context.disk.read(self._layout.journal(self.lb_id))
        if found is None:
            return None
        try:
            return msgspec.json.decode(found[0], type=_Journal)
        except msgspec.MsgspecError as exc:
            raise AgentError(
                f"{self._layout.journal(self.lb_id)} cannot be read",
                f"{exc}; look at the load balancer's files and remove it",
            ) from exc
