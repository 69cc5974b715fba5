# SPDX-License-Identifier: Apache-2.0
"""Start and stop the programs that the amphora runs."""

from typing import Protocol

from amphora_agent.errors import CommandFailed
from amphora_agent.system import process

# Longer than systemd's own limit for a unit (90 s), so that its verdict is the one that is told.
_TIMEOUT_S = 100.0


class Services(Protocol):
    """The service manager; units are systemd's names, with the suffix."""

    def start(self, unit: str) -> None:
        """Start a unit and wait until it is up; one that runs already is left alone.

        Raises:
            CommandFailed: it did not come up; the output holds its last log lines.
        """

    def request(self, unit: str) -> None:
        """Have a unit started, without waiting: it may have to wait for who asks.

        Raises:
            CommandFailed: there is no such unit.
        """

    def stop(self, unit: str) -> None:
        """Stop a unit and wait until it is down; one that does not run is left alone.

        Raises:
            CommandFailed: it did not stop.
        """

    def reload(self, unit: str) -> None:
        """Ask a running unit to read its configuration again.

        Raises:
            CommandFailed: it does not run, or refused.
        """

    def restart(self, unit: str) -> None:
        """Stop a unit if it runs, start it, and wait until it is up.

        Raises:
            CommandFailed: it did not come up; the output holds its last log lines.
        """

    def is_active(self, unit: str) -> bool:
        """Whether a unit runs, is starting, or is reloading."""


class SystemdServices:
    """Units of systemd."""

    def start(self, unit: str) -> None:
        """See Services."""
        self._forget_failures(unit)
        self._run("start", unit)

    def request(self, unit: str) -> None:
        """See Services."""
        process.run(["systemctl", "start", "--no-block", unit], timeout_s=_TIMEOUT_S)

    def stop(self, unit: str) -> None:
        """See Services."""
        self._run("stop", unit)

    def reload(self, unit: str) -> None:
        """See Services."""
        self._run("reload", unit)

    def restart(self, unit: str) -> None:
        """See Services."""
        self._forget_failures(unit)
        self._run("restart", unit)

    def is_active(self, unit: str) -> bool:
        """See Services."""
        done = process.run(
            ["systemctl", "show", "--property=ActiveState", "--value", unit], timeout_s=_TIMEOUT_S
        )
        return done.stdout.strip() in {"active", "activating", "reloading"}

    def _forget_failures(self, unit: str) -> None:
        # A unit that failed too often is otherwise refused until its rate limit has passed.
        process.run(["systemctl", "reset-failed", unit], timeout_s=_TIMEOUT_S, check=False)

    def _run(self, verb: str, unit: str) -> None:
        try:
            process.run(["systemctl", verb, unit], timeout_s=_TIMEOUT_S)
        except CommandFailed as exc:
            log = process.run(
                ["journalctl", "--unit", unit, "--lines=20", "--no-pager", "--output=cat"],
                timeout_s=10.0,
                check=False,
            )
            raise CommandFailed(
                exc.message, returncode=exc.returncode, output=f"{exc.output}\n{log.output}".strip()
            ) from exc
