# SPDX-License-Identifier: Apache-2.0
"""The agent's configuration file, read again when it changes."""

from pathlib import Path

from amphora_agent import settings
from amphora_agent.errors import ConfigError
from amphora_agent.sender.journal import Journal
from amphora_agent.settings import Settings


class ConfigFile:
    """The agent's configuration file, read again when it changes."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self._path = path
        self._journal = journal
        self._signature: object = None
        self.current: Settings | None = None

    def refresh(self) -> Settings | None:
        """The last good settings; None when there were none yet."""
        # Taken before the file is read, so that a change in between is seen the next time.
        signature = self._look()
        if signature is None or signature != self._signature:
            self._signature = signature
            self._read()
        return self.current

    def _look(self) -> object:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _read(self) -> None:
        try:
            loaded = settings.load(self._path)
        except ConfigError as exc:
            instead = "no heartbeat is sent" if self.current is None else "the last one is kept"
            self._journal.trouble("config", f"{exc}; {instead} until the file is right")
            return
        self._journal.fine("config", f"{self._path} is right now")
        # The file of another amphora means that this disk was another one's: nothing of it counts.
        if self.current is not None and loaded.amphora_id == self.current.amphora_id:
            loaded = self._take_over(self.current, loaded)
        if loaded == self.current:
            return
        self.current = loaded
        names = ", ".join(str(controller) for controller in loaded.controllers)
        self._journal.info(
            f"amphora {loaded.amphora_id}: a heartbeat every {loaded.heartbeat_interval_s:g} s"
            f" to {names or 'nobody'}"
        )
        for entry in loaded.bad_controllers:
            self._journal.warning(
                f"{self._path}: [health_manager] controller_ip_port_list: {entry!r} is ignored,"
                " right would be ip:port or [ipv6]:port"
            )

    def _take_over(self, current: Settings, loaded: Settings) -> Settings:
        """Leave alone what takes effect at the next start; haproxy still runs in the old place."""
        waiting = ", ".join(settings.postponed(current, loaded))
        if waiting:
            self._journal.trouble("postponed", f"{waiting}: of effect at the next start only")
        else:
            self._journal.fine("postponed", "nothing waits for the next start any more")
        return settings.take_over(current, loaded)
