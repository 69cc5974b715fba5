# SPDX-License-Identifier: Apache-2.0
"""The keepalived program: check a configuration."""

from pathlib import Path
from typing import Protocol

from amphora_agent import parse
from amphora_agent.errors import CommandFailed, Refused
from amphora_agent.system import namespace, process

PROGRAM = Path("/usr/sbin/keepalived")
_CHECK_TIMEOUT_S = 30.0


class Keepalived(Protocol):
    """What the agent asks of keepalived."""

    def check(self, config: Path) -> None:
        """Let keepalived read a configuration file without running it.

        Raises:
            Refused: it finds faults; the details are its own words.
            CommandFailed: it could not be asked.
        """


class KeepalivedProgram:
    """The installed keepalived; where there is none, every configuration passes.

    Args:
        netns: the namespace whose interfaces the configurations name.
        program: replaces the installed one.
    """

    def __init__(self, netns: str, program: Path = PROGRAM) -> None:
        self._netns = netns
        self._program = program

    def check(self, config: Path) -> None:
        """See Keepalived."""
        if not self._program.exists():
            return
        done = namespace.call(
            self._netns if namespace.exists(self._netns) else None,
            # It logs to standard error by itself with -t.
            lambda: process.run(
                [str(self._program), "-t", "-f", str(config)],
                timeout_s=_CHECK_TIMEOUT_S,
                check=False,
            ),
        )
        if done.returncode < 0:
            raise CommandFailed(
                f"{self._program} was ended by signal {-done.returncode}",
                returncode=done.returncode,
                output=done.output,
            )
        # The status is 0 with faults too, where the kernel lacks IPVS.
        if parse.keepalived_faults(done.output):
            raise Refused(f"keepalived refuses {config.name}", done.output)
