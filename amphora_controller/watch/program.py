# SPDX-License-Identifier: Apache-2.0
"""A sink that is a program: started for each event, which it reads from its standard input."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.errors import CommandFailed
from amphora_agent.system import process
from amphora_controller.errors import ControllerError
from amphora_controller.watch.delivery import Untold
from amphora_controller.watch.store import Numbered

_SHOWN_MAX = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Starts a program without arguments; exit status 0 takes the event.

    Attributes:
        deadline_s: after which it is killed, and was told nothing.
    """

    path: Path
    deadline_s: float = 30.0
    name: str = "exec"

    def __post_init__(self) -> None:
        """Refuse what cannot be started.

        Raises:
            ControllerError: it cannot.
        """
        if not self.path.is_file() or not os.access(self.path, os.X_OK):
            raise ControllerError(
                f"{self.path} is no program", "--exec needs a file that may be executed"
            )

    def tell(self, event: Numbered) -> None:
        """See Sink."""
        document = json.dumps(event.document()).encode() + b"\n"
        try:
            # Without a slash in it, it would be looked for in PATH.
            process.run([str(self.path.absolute())], timeout_s=self.deadline_s, stdin=document)
        except CommandFailed as exc:
            raise Untold(_one_line(str(exc))) from exc


def _one_line(text: str) -> str:
    """What can stand in a line of a terminal, of what a program wrote."""
    plain = "".join(one if one.isprintable() else " " for one in text)
    return " ".join(plain.split())[:_SHOWN_MAX]
