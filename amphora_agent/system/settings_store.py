# SPDX-License-Identifier: Apache-2.0
"""The settings in force in a running agent, and the file they come from."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from amphora_agent import settings
from amphora_agent.errors import ConfigError
from amphora_agent.settings import PLACES, Settings
from amphora_agent.system import files

LOG = logging.getLogger(__name__)

# It holds the heartbeat key.
_MODE = 0o600

# Inode, size and times of a file, or why there are none.
_Signature = tuple[int, ...] | str


def set_log_level(current: Settings) -> None:
    """Log as much as the settings say, from now on."""
    logging.getLogger().setLevel(logging.DEBUG if current.debug else logging.INFO)


class SettingsStore:
    """The settings in force; the file is looked at whenever somebody asks for them.

    So whatever changes the file - the API, an operator, another process of the agent - takes
    effect without a message to anyone, as far as it can without a restart. While the file is
    missing or wrong, the last good settings stay in force.

    Args:
        path: the file.
        loaded: settings to start with; what they say for a value that is not live stays.
        changed: called with new settings, while nobody else can change them.
    """

    def __init__(
        self, path: Path, loaded: Settings, *, changed: Callable[[Settings], None] = set_log_level
    ) -> None:
        self.path = path
        self._current = loaded
        self._changed = changed
        self._lock = threading.Lock()
        # Not that of the file, which may have changed since it was loaded.
        self._signature: _Signature = ""
        self._trouble = ""
        self._postponed: tuple[str, ...] = ()

    @property
    def current(self) -> Settings:
        """The settings now."""
        if self._look() != self._signature:
            with self._lock:
                self._refresh()
        return self._current

    def write(self, content: bytes) -> None:
        """Replace the file and let its live values take effect.

        Raises:
            OSError: the file could not be written; the old one stays.
        """
        with self._lock:
            files.write_atomic(self.path, content, mode=_MODE)
            self._refresh()

    def _look(self) -> _Signature:
        try:
            found = self.path.stat()
        except OSError as exc:
            return exc.strerror or type(exc).__name__
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _refresh(self) -> None:
        # Taken before the file is read, so that a change in between is seen the next time.
        signature = self._look()
        if signature == self._signature:
            return
        try:
            self._take(settings.load(self.path))
        except ConfigError as exc:
            if str(exc) != self._trouble:
                self._trouble = str(exc)
                LOG.warning("%s; the last good settings stay in force", exc)
        else:
            if self._trouble:
                LOG.info("%s is right again", self.path)
            self._trouble = ""
        self._signature = signature

    def _take(self, loaded: Settings) -> None:
        before, after = self._current, settings.take_over(self._current, loaded)
        if after != before:
            self._current = after
            self._changed(after)
            names = [n for n in PLACES if getattr(before, n) != getattr(after, n)]
            LOG.info("%s: %s changed", self.path, ", ".join(str(PLACES[name]) for name in names))
        waiting = settings.postponed(after, loaded)
        if waiting and waiting != self._postponed:
            LOG.warning(
                "%s: %s will take effect when amphora-agent and amphora-heartbeat start again",
                self.path,
                ", ".join(waiting),
            )
        self._postponed = waiting
