# SPDX-License-Identifier: Apache-2.0
"""`amphoractl amphora` beside an agent in namespaces."""

from dataclasses import dataclass
from pathlib import Path

from amphora_controller.certificates.store import Store
from tests.functional.conftest import LOOPBACK, Place
from tests.support.amphoractl import Said, controller_files, run

ADDRESS = str(LOOPBACK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Console:
    """A controller's command line in the agent's namespace, with its files in a directory."""

    place: Place
    directory: Path

    @property
    def store(self) -> Store:
        """The controller's files."""
        return Store(directory=self.directory)

    def amphora(self, command: str, *arguments: str) -> Said:
        """Run one command of `amphoractl amphora`, such as `config get`."""
        words = [*command.split(), *arguments, "-d", str(self.directory)]
        return run(self.place.outer, "amphora", *words)


def make(place: Place, directory: Path) -> Console:
    """A console whose directory holds what a controller has."""
    controller_files(place.pki, directory)
    return Console(place=place, directory=directory)
