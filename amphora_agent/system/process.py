# SPDX-License-Identifier: Apache-2.0
"""The one door through which other programs are started."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from amphora_agent.errors import CommandFailed

# Programs are found here whatever the environment of the agent says, and answer in English.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """What an ended program left.

    Attributes:
        returncode: exit status, negative for a signal.
        stdout, stderr: decoded output; bytes that are not UTF-8 are replaced.
    """

    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both outputs as one text."""
        return "\n".join(part for part in (self.stdout.rstrip(), self.stderr.rstrip()) if part)


def run(
    argv: Sequence[str], *, timeout_s: float, check: bool = True, stdin: bytes = b""
) -> Completed:
    """Run a program to its end, with a short environment.

    Args:
        timeout_s: seconds after which the program is killed.
        check: treat an exit status other than 0 as an error.
        stdin: all that the program can read from its standard input.

    Raises:
        CommandFailed: the program is missing, ran out of time, or (with `check`) failed.
    """
    shown = shlex.join(argv)
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            env=_ENVIRONMENT,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        output = (exc.stdout or b"") + (exc.stderr or b"")
        raise CommandFailed(
            f"`{shown}` did not end within {timeout_s:g} s",
            returncode=None,
            output=output.decode(errors="replace"),
        ) from exc
    except OSError as exc:
        raise CommandFailed(
            f"`{shown}` could not be started", returncode=None, output=str(exc)
        ) from exc
    completed = Completed(
        returncode=done.returncode,
        stdout=done.stdout.decode(errors="replace"),
        stderr=done.stderr.decode(errors="replace"),
    )
    if check and completed.returncode != 0:
        raise CommandFailed(
            f"`{shown}` failed with status {completed.returncode}",
            returncode=completed.returncode,
            output=completed.output,
        )
    return completed
