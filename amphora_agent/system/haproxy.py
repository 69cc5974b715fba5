# SPDX-License-Identifier: Apache-2.0
"""The haproxy program: check a configuration, ask a running one."""

import time
from pathlib import Path
from typing import Protocol

from amphora_agent.errors import AgentError, Refused
from amphora_agent.system import haproxy_socket, process

# A thousand listeners with certificates take some seconds to check on a small flavor.
_CHECK_TIMEOUT_S = 60.0
_QUERY_TIMEOUT_S = 5.0
# The controller gives up after 60 s.
_RELOAD_TIMEOUT_S = 50.0

_MASTER_AWAY_S = 2.0
_MASTER_POLL_S = 0.02


class Haproxy(Protocol):
    """What the agent asks of haproxy."""

    def check(self, configs: tuple[Path, ...], peer_name: str) -> None:
        """Let haproxy read configuration files without running them.

        Raises:
            CommandFailed: it refuses them; the output is haproxy's own.
        """

    def query(self, stats_socket: Path, command: str) -> str:
        """Send a command to a running haproxy.

        Raises:
            AgentError: nobody answers on the socket in time.
        """

    def command(self, master_socket: Path, pid: int, command: str) -> str:
        """Send a command to one worker, with all rights, through the master.

        Raises:
            AgentError: nobody answers on the socket in time. That it is refused is an answer.
        """

    def current(self, master_socket: Path, *, wait: bool) -> str:
        """What `show info` says of the worker that takes new connections.

        On the stats socket a worker that a reload has just replaced may still answer once more.

        Args:
            wait: a master runs, so that one who is not there executes itself anew.

        Raises:
            AgentError: nobody answers on the socket in time.
        """

    def reload(self, master_socket: Path) -> None:
        """Have a running haproxy read its configuration anew.

        Unlike a signal, a command on its master's socket is never lost: while the master starts,
        or loads itself anew after the reload before, the command waits. Since HAProxy 2.7 the
        answer comes when the load is done; an older master goes away without one.

        Raises:
            Refused: it could not load the configuration, and the old one goes on serving.
            AgentError: nobody answers on the socket in time.
        """


class HaproxyProgram:
    """The installed haproxy."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def check(self, configs: tuple[Path, ...], peer_name: str) -> None:
        """See Haproxy."""
        files = [option for path in configs for option in ("-f", str(path))]
        process.run([str(self._program), "-c", "-L", peer_name, *files], timeout_s=_CHECK_TIMEOUT_S)

    def query(self, stats_socket: Path, command: str) -> str:
        """See Haproxy."""
        return haproxy_socket.query(stats_socket, command, timeout_s=_QUERY_TIMEOUT_S)

    def command(self, master_socket: Path, pid: int, command: str) -> str:
        """See Haproxy."""
        return _ask_master(master_socket, f"@!{pid} {command}", timeout_s=_QUERY_TIMEOUT_S)

    def current(self, master_socket: Path, *, wait: bool) -> str:
        """See Haproxy."""
        ask = _ask_master if wait else haproxy_socket.query
        return ask(master_socket, "@1 show info", timeout_s=_QUERY_TIMEOUT_S)

    def reload(self, master_socket: Path) -> None:
        """See Haproxy."""
        try:
            answer = _ask_master(master_socket, "reload", timeout_s=_RELOAD_TIMEOUT_S)
        except AgentError as exc:
            if not isinstance(exc.__cause__, ConnectionResetError):
                raise
            answer = ""
        verdict, _, words = answer.partition("\n--\n")
        if verdict.strip() == "Success=0":
            raise Refused("haproxy refuses its configuration", words.strip())


def _ask_master(master_socket: Path, command: str, *, timeout_s: float) -> str:
    """See haproxy_socket.query; nobody listens for a moment while a master executes itself anew.

    It does so after each start and each load. What was refused there was not sent.
    """
    deadline = time.monotonic() + _MASTER_AWAY_S
    while True:
        try:
            return haproxy_socket.query(master_socket, command, timeout_s=timeout_s)
        except AgentError as exc:
            refused = isinstance(exc.__cause__, ConnectionRefusedError)
            if not refused or time.monotonic() > deadline:
                raise
        time.sleep(_MASTER_POLL_S)
