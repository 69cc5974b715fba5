# SPDX-License-Identifier: Apache-2.0
"""An agent that serves requests given to it and dies at a chosen step of its work.

See tests/support/killable_agent.py, which is the other end.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from tests.functional.conftest import REPOSITORY, Place
from tests.functional.kill_requests import Request

_DEADLINE_S = 30

# See tests/support/killable_agent.py.
Since = Literal["start", "request", "done"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What came of some requests.

    Attributes:
        answers: statuses and bodies, up to where the agent died.
    """

    answers: tuple[tuple[int, str], ...]
    killed: bool

    @property
    def statuses(self) -> list[int]:
        """Of the answers."""
        return [status for status, _body in self.answers]


@dataclass(frozen=True, kw_only=True, slots=True)
class Killable:
    """The helper process; each run is an agent of its own, on what the one before has left."""

    process: subprocess.Popen[str]

    def run(
        self, requests: Sequence[Request], kill_at: int = 0, *, since: Since = "request"
    ) -> Ran:
        """Start an agent and let it serve.

        Args:
            kill_at: the step before which it dies; 0 for none.
            since: from where steps count.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {
            "kill_at": kill_at,
            "since": since,
            "requests": [
                [request.method, request.path, base64.b64encode(request.body).decode()]
                for request in requests
            ],
        }
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        answers = tuple((status, body) for status, body in answer["answers"])
        return Ran(answers=answers, killed=answer["killed"])


@contextmanager
def killable(place: Place) -> Iterator[Killable]:
    """The helper in a place."""
    with place.log.open("ab") as log:
        process = subprocess.Popen(
            place.outer.command(
                *(sys.executable, "-m", "tests.support.killable_agent"),
                *("--config-file", str(place.config_file), "--netns", place.inner.name),
            ),
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield Killable(process=process)
    finally:
        process.communicate(timeout=_DEADLINE_S)
