# SPDX-License-Identifier: Apache-2.0
"""A service manager for unit files of kind oneshot: it runs their commands in the calling thread's
network namespace, where systemd would run them in the host's.

tests/container has the real one.
"""

import contextlib
import shlex
import subprocess
import time
from pathlib import Path

from amphora_controller.errors import ControllerError
from amphora_controller.units import UnitState

_TIMEOUT_S = 100


class FileUnits:
    """Units by their files in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[str, str] = {}
        self._enabled: set[str] = set()
        self._since: dict[str, float] = {}
        self._retried: set[str] = set()

    def state(self, unit: str) -> UnitState:
        """See amphora_controller.units.Units; a unit that failed is tried once more, as by time."""
        if unit in self._retried:
            with contextlib.suppress(ControllerError):
                self.restart(unit)
        return UnitState(
            is_there=unit in self._read,
            is_stale=self._file(unit) != self._read.get(unit, ""),
            is_masked=False,
            is_enabled=unit in self._enabled,
            since_s=self._since.get(unit),
        )

    def read_files(self) -> None:
        """See amphora_controller.units.Units."""
        self._read = {path.name: path.read_text() for path in self._directory.iterdir()}

    def enable(self, unit: str) -> None:
        """See amphora_controller.units.Units."""
        self._expect(unit)
        self._enabled.add(unit)

    def disable(self, unit: str) -> None:
        """See amphora_controller.units.Units."""
        self._expect(unit)
        self._enabled.discard(unit)

    def restart(self, unit: str) -> None:
        """See amphora_controller.units.Units."""
        self._expect(unit)
        self._since.pop(unit, None)
        if "Restart=on-failure" in self._read[unit]:
            self._retried.add(unit)
        for line in commands(self._read[unit]):
            done = subprocess.run(
                shlex.split(line.removeprefix("-")),
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
            if done.returncode != 0 and not line.startswith("-"):
                raise ControllerError(f"systemctl restart {unit} failed", done.stderr.strip())
        self._retried.discard(unit)
        self._since[unit] = time.time()

    def stop(self, unit: str) -> None:
        """See amphora_controller.units.Units."""
        self._expect(unit)
        self._retried.discard(unit)
        self._since.pop(unit, None)

    def reboot(self) -> None:
        """Forget what runs and start what is enabled."""
        self._since.clear()
        self.read_files()
        for unit in sorted(self._enabled):
            self.restart(unit)

    def _expect(self, unit: str) -> None:
        if unit not in self._read:
            raise ControllerError(f"there is no unit {unit}")

    def _file(self, unit: str) -> str:
        path = self._directory / unit
        return path.read_text() if path.exists() else ""


def commands(text: str) -> list[str]:
    """What a unit's start runs, in order; a leading - marks those that may fail."""
    prefix = "ExecStart="
    lines = (line for line in text.splitlines() if line.startswith(prefix))
    return [line.removeprefix(prefix).replace("%%", "%").replace("$$", "$") for line in lines]
