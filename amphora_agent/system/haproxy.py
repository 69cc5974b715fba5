# SPDX-License-Identifier: Apache-2.0
"""The haproxy program: check a configuration, ask a running one."""

from pathlib import Path
from typing import Protocol

from amphora_agent.system import haproxy_socket, process

# A thousand listeners with certificates take some seconds to check on a small flavor.
_CHECK_TIMEOUT_S = 60.0
_QUERY_TIMEOUT_S = 5.0


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
