# SPDX-License-Identifier: Apache-2.0
"""Commands to haproxy over its unix sockets (management guide, "Unix Socket commands")."""

import socket
import time
from pathlib import Path

from amphora_agent.errors import AgentError

# A row of `show stat` has some 500 bytes: room for 30,000 listeners, pools and members.
ANSWER_MAX_BYTES = 16 * 1024 * 1024

_CHUNK_BYTES = 256 * 1024


def query(socket_path: Path, command: str, *, timeout_s: float) -> str:
    """Send one line to haproxy and read its answer to the end.

    A command can carry lines: `<<` ends it, they follow, and a blank line ends them.

    Works with a stats socket and with the master's socket. Several commands go into one line with
    `;` between them; haproxy ends the answer to each with a blank line.

    Args:
        command: without the line end.
        timeout_s: more than 0; for connecting, sending and reading together, however slow it is.

    Raises:
        AgentError: nobody listens, time ran out, or the answer has over `ANSWER_MAX_BYTES` bytes.
    """
    deadline_s = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(timeout_s)
            connection.connect(str(socket_path))
            connection.sendall(command.encode() + b"\n")
            # Without an end of input the master's socket would wait for the next command.
            connection.shutdown(socket.SHUT_WR)
            return _read(connection, socket_path, deadline_s).decode(errors="replace")
        except TimeoutError as exc:
            raise _too_late(socket_path, command, timeout_s) from exc
        except OSError as exc:
            raise AgentError(f"haproxy cannot be asked on {socket_path}", str(exc)) from exc


def _read(connection: socket.socket, socket_path: Path, deadline_s: float) -> bytes:
    answer = bytearray()
    while True:
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        connection.settimeout(remaining_s)
        chunk = connection.recv(_CHUNK_BYTES)
        if not chunk:
            return bytes(answer)
        answer += chunk
        if len(answer) > ANSWER_MAX_BYTES:
            raise AgentError(
                f"haproxy answers too much on {socket_path}", f"over {ANSWER_MAX_BYTES} bytes"
            )


def _too_late(socket_path: Path, command: str, timeout_s: float) -> AgentError:
    # What the command carries may be a private key, which belongs in no message.
    first_line = command.partition("\n")[0]
    return AgentError(
        f"haproxy did not answer in time on {socket_path}",
        f"no complete answer to `{first_line}` within {timeout_s:.1f} s",
    )
