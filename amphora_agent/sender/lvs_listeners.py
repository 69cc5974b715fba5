# SPDX-License-Identifier: Apache-2.0
"""Looks at every UDP and SCTP listener: its configuration, its keepalived, and IPVS."""

from dataclasses import dataclass
from pathlib import Path

from amphora_agent import lvsconf
from amphora_agent.errors import AgentError
from amphora_agent.heartbeat import gate, lvs
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.heartbeat.observation import Observation
from amphora_agent.layout import Layout
from amphora_agent.lvsconf import LvsConfig
from amphora_agent.sender.journal import Journal
from amphora_agent.system.ipvs import IpvsTable, Table
from amphora_agent.system.proc import boot_id, process_stat, read_text


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parsed:
    """A configuration and what the file looked like when it was read."""

    signature: tuple[int, int, int]
    config: LvsConfig


class LvsListeners:
    """What lasts from one look to the next."""

    def __init__(self, journal: Journal, table: IpvsTable) -> None:
        self._journal = journal
        self._table = table
        self._parsed: dict[str, _Parsed] = {}

    def collect(self, paths: Layout, ids: list[str], ledger: Ledger) -> list[Observation]:
        """Look at every listener; an odd one is left out and harms no other.

        Args:
            ledger: tells which counters were seen before.
        """
        self._parsed = {name: parsed for name, parsed in self._parsed.items() if name in ids}
        serving = [name for name in ids if self._is_served(paths, name)]
        if not serving:
            return []
        table = self._read_table()
        boot = boot_id()
        observations = []
        for listener_id in serving:
            account = ledger.accounts.get(lvs.lvs_source(listener_id))
            observations.append(
                lvs.lvs_observation(
                    listener_id,
                    self._parsed[listener_id].config,
                    table,
                    boot=boot,
                    is_restarting=_is_restarting(paths, listener_id),
                    known=frozenset(account.totals) if account is not None else frozenset(),
                )
            )
        return observations

    def _is_served(self, paths: Layout, listener_id: str) -> bool:
        topic = f"lvs {listener_id}"
        try:
            config = self._config(paths.lvs_config(listener_id), listener_id)
        except OSError as exc:
            text = f"UDP or SCTP listener {listener_id} is not reported"
            self._journal.trouble(topic, text, str(exc))
            return False
        fault = ""
        if not config.is_disabled:
            pid_text = read_text(paths.lvs_pids(listener_id)[0])
            pid = gate.parse_pid(pid_text or "")
            fault = gate.keepalived_fault(pid_text, process_stat(pid) if pid else None)
        if fault:
            self._journal.trouble(
                topic, f"UDP or SCTP listener {listener_id} is not reported: keepalived: {fault}"
            )
            return False
        self._journal.fine(topic, f"UDP or SCTP listener {listener_id} is fine again")
        return not config.is_disabled

    def _config(self, path: Path, listener_id: str) -> LvsConfig:
        """The configuration, read again only when the file is another one."""
        found = path.stat()
        signature = (found.st_ino, found.st_size, found.st_mtime_ns)
        parsed = self._parsed.get(listener_id)
        if parsed is None or parsed.signature != signature:
            text = path.read_bytes().decode(errors="replace")
            parsed = _Parsed(signature=signature, config=lvsconf.parse(text))
            self._parsed[listener_id] = parsed
        return parsed.config

    def _read_table(self) -> Table | None:
        try:
            table = self._table.read()
        except AgentError as exc:
            self._journal.trouble("ipvs", "members of UDP and SCTP pools are unknown", str(exc))
            return None
        self._journal.fine("ipvs", "members of UDP and SCTP pools are known again")
        return table


def _is_restarting(paths: Layout, listener_id: str) -> bool:
    """Whether keepalived has yet to take over the configuration.

    Its process for health checks writes its pid file when it has read the configuration.
    """
    try:
        started_ns = paths.lvs_pids(listener_id)[2].stat().st_mtime_ns
    except OSError:
        return True
    return paths.lvs_config(listener_id).stat().st_mtime_ns > started_ns
