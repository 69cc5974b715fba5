# SPDX-License-Identifier: Apache-2.0
"""The certificates of the control plane, on this host."""

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.system import files
from amphora_controller.certificates import lifecycle
from amphora_controller.certificates.issue import Recipe, Subject
from amphora_controller.certificates.lifecycle import Lifetimes
from amphora_controller.certificates.store import Store
from amphora_controller.errors import ControllerError
from amphora_controller.owner import owner_ids
from amphora_controller.setup.context import Context
from amphora_controller.setup.steps import Change


@dataclass(frozen=True, slots=True)
class CertsStep:
    """Both authorities and the controllers' certificate.

    All controllers have the same ones: only the site's first makes them.
    """

    context: Context
    name = "certs"

    def changes(self) -> Iterator[Change]:
        """See Step."""
        owner = self.context.site.octavia.owner
        store = self._store(owner_ids(owner) if owner else None)
        if not lifecycle.is_made(store):
            self._refuse_elsewhere()
            yield Change(
                what=f"make both authorities and the controllers' certificate in {store.directory}",
                detail="\n".join(str(path) for path in store.all_files),
                do=lambda: self._create(store),
            )
        elif store.owner is not None:
            for path in store.services:
                if _owner(path) != store.owner:
                    yield _chown(path, store.owner, owner)

    def removals(self) -> Iterator[Change]:
        """See Step; only where the run is to remove certificates."""
        store = self._store(None)
        if self.context.with_certificates and self._mark(store).exists():
            yield Change(
                what=f"remove the authorities and certificates in {store.directory}",
                detail="\n".join(str(path) for path in store.all_files if path.exists()),
                do=lambda: self._remove(store),
            )

    def _create(self, store: Store) -> None:
        # First: what a run that is broken off leaves is its own.
        store.write({self._mark(store): f"{self.context.mark}\n".encode()})
        stated = self.context.site.certificates
        lifecycle.create(
            store,
            Recipe(
                kind=stated.key,
                subject=Subject(country=stated.country or "", organization=stated.organization),
                now=datetime.datetime.now(datetime.UTC),
            ),
            Lifetimes(
                root_days=stated.root_days,
                intermediate_days=stated.intermediate_days,
                controller_days=stated.controller_days,
            ),
            stated.ca_passphrase,
        )

    def _remove(self, store: Store) -> None:
        # The mark is the last one: a run that is broken off goes on.
        try:
            for path in (*store.all_files, self._mark(store)):
                files.remove(path)
            # Somebody may have put something beside them.
            with contextlib.suppress(OSError):
                self._mark(store).parent.rmdir()
                store.directory.rmdir()
        except OSError as exc:
            raise ControllerError(f"{exc.filename} cannot be removed", str(exc)) from exc

    def _refuse_elsewhere(self) -> None:
        first = self.context.site.controllers[0].name
        if self.context.host != first:
            directory = self.context.site.certificates.directory
            raise ControllerError(
                f"{directory} is not there: all controllers have the certificates of {first}",
                f"copy {directory} from {first}, less its directory private",
            )

    def _store(self, owner: tuple[int, int] | None) -> Store:
        return Store(directory=Path(self.context.site.certificates.directory), owner=owner)

    def _mark(self, store: Store) -> Path:
        return store.directory / "private" / "amphoractl"


def _owner(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid


def _chown(path: Path, ids: tuple[int, int], owner: str) -> Change:
    def do() -> None:
        try:
            os.chown(path, *ids)
        except OSError as exc:
            raise ControllerError(f"the owner of {path} cannot be set", str(exc)) from exc

    return Change(what=f"give {path} to {owner}", detail=f"chown {owner} {path}", do=do)
