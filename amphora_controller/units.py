# SPDX-License-Identifier: Apache-2.0
"""Units of the controller's systemd."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from amphora_controller import programs
from amphora_controller.errors import ControllerError

# Longer than systemd's own limit for a unit (90 s), so that its verdict is the one that is told.
_TIMEOUT_S = 100.0
_SHOWN = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "NeedDaemonReload",
    "ActiveEnterTimestampMonotonic",
)
# States of a unit file that is not to be enabled, or cannot be.
_ENABLED = {"enabled", "enabled-runtime", "static", "indirect", "generated", "alias"}
_UP = {"active", "reloading"}


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitState:
    """What systemd knows of a unit.

    Attributes:
        is_there: it has a file.
        is_stale: that file has changed since systemd read it.
        is_masked: nobody is to start it.
        since_s: when it came up, as time.time() counts; None when it is not up.
    """

    is_there: bool
    is_stale: bool
    is_masked: bool
    is_enabled: bool
    since_s: float | None

    @property
    def is_active(self) -> bool:
        """Whether it is up."""
        return self.since_s is not None


class Units(Protocol):
    """The service manager; units are systemd's names, with the suffix."""

    def state(self, unit: str) -> UnitState:
        """What is known of a unit, and be it that there is none.

        Raises:
            ControllerError: systemd does not answer.
        """

    def read_files(self) -> None:
        """Have all unit files read again.

        Raises:
            ControllerError: systemd refused.
        """

    def enable(self, unit: str) -> None:
        """Have a unit started at every boot.

        Raises:
            ControllerError: there is no such unit.
        """

    def disable(self, unit: str) -> None:
        """The contrary; done already is no error.

        Raises:
            ControllerError: there is no such unit.
        """

    def restart(self, unit: str) -> None:
        """Stop a unit if it runs, start it, and wait until it is up.

        Raises:
            ControllerError: it did not come up; the hint holds its last log lines.
        """

    def stop(self, unit: str) -> None:
        """Stop a unit and wait until it is down.

        Raises:
            ControllerError: it did not stop.
        """


class SystemdUnits:
    """Units of systemd."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        """Talk to this host's systemd.

        Args:
            prefix: what to start systemctl and journalctl with, to mean another one.
        """
        self._prefix = tuple(prefix)

    def state(self, unit: str) -> UnitState:
        """See Units."""
        printed = self._run("systemctl", "show", f"--property={','.join(_SHOWN)}", unit)
        return parse_state(printed, now_s=time.time(), monotonic_s=time.monotonic())

    def read_files(self) -> None:
        """See Units."""
        self._run("systemctl", "daemon-reload")

    def enable(self, unit: str) -> None:
        """See Units."""
        self._run("systemctl", "enable", unit)

    def disable(self, unit: str) -> None:
        """See Units."""
        self._run("systemctl", "disable", unit)

    def restart(self, unit: str) -> None:
        """See Units."""
        # A unit that failed too often is otherwise refused until its rate limit has passed.
        self._run("systemctl", "reset-failed", unit, check=False)
        self._run_with_log("restart", unit)

    def stop(self, unit: str) -> None:
        """See Units."""
        self._run_with_log("stop", unit)

    def _run_with_log(self, verb: str, unit: str) -> None:
        try:
            self._run("systemctl", verb, unit)
        except ControllerError as exc:
            log = self._run(
                *("journalctl", f"--unit={unit}", "--lines=10", "--no-pager", "--output=cat"),
                check=False,
            )
            raise ControllerError(
                f"systemctl {verb} {unit} failed", f"{exc.hint}\n{log}".strip()
            ) from exc

    def _run(self, *argv: str, check: bool = True) -> str:
        return programs.run(*self._prefix, *argv, check=check, timeout_s=_TIMEOUT_S).stdout


def parse_state(printed: str, *, now_s: float, monotonic_s: float) -> UnitState:
    """A state from what `systemctl show` prints, a `Name=value` in each line.

    Args:
        now_s, monotonic_s: what time.time() and time.monotonic() told just now.
    """
    properties = dict(line.split("=", maxsplit=1) for line in printed.splitlines() if "=" in line)
    # 0 for a unit that never was up since the boot.
    entered_us = int(properties.get("ActiveEnterTimestampMonotonic") or 0)
    is_up = properties.get("ActiveState") in _UP
    return UnitState(
        is_there=properties.get("LoadState") in {"loaded", "masked"},
        is_stale=properties.get("NeedDaemonReload") == "yes",
        is_masked=properties.get("LoadState") == "masked",
        is_enabled=properties.get("UnitFileState") in _ENABLED,
        since_s=now_s - (monotonic_s - entered_us / 1e6) if is_up else None,
    )
