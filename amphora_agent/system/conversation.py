# SPDX-License-Identifier: Apache-2.0
"""A connection to haproxy's stats socket that is kept from one question to the next.

Format: HAProxy management guide, "Unix Socket commands": after `prompt` the answer to each line
ends with a blank line and "> " instead of the end of the connection.
"""

import math
import select
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from amphora_agent.errors import AgentError
from amphora_agent.system.haproxy_socket import ANSWER_MAX_BYTES

_CHUNK_BYTES = 64 * 1024
_PROMPT = b"\n> "


class Conversation:
    """Questions to one worker, and its answers, without ever waiting for it.

    It stays with its worker when a reload replaces that, and keeps it alive: so its last counters
    can still be read. Whoever holds one has to close it soon after. A worker that hung answers when
    it goes on: such a late answer is passed over, and the question is asked once more, so that an
    answer is never older than its question.

    Args:
        idle_s: how long haproxy shall wait for the next question.

    Raises:
        AgentError: nobody listens.
    """

    def __init__(self, socket_path: Path, *, idle_s: float) -> None:
        self._path = socket_path
        self._received = bytearray()
        # Prompts that have yet to come before all that was sent is answered.
        self._due = 0
        self._postponed: Sequence[str] = ()
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.setblocking(False)
        try:
            self._connection.connect(str(socket_path))
            self._send(("prompt", f"set timeout cli {math.ceil(idle_s)}"))
        except OSError as exc:
            self.close()
            raise self._lost(exc) from exc

    def fileno(self) -> int:
        """For `readable`."""
        return self._connection.fileno()

    def ask(self, *commands: str) -> None:
        """Ask; `receive` then gives the answers.

        Args:
            commands: without line ends. Only the answer to the last one may hold text from outside,
                such as a member's: it might look like a prompt.

        Raises:
            AgentError: haproxy is gone.
        """
        # A late answer that has come meanwhile is out of the way then.
        self._postponed = ()
        self.receive()
        self._postponed = commands
        if not self._due:
            self._send_postponed()

    @property
    def is_behind(self) -> bool:
        """Whether something that was asked before has yet to be answered."""
        return bool(self._postponed)

    def receive(self) -> list[str] | None:
        """Take what has come.

        Returns:
            One answer for each command of the last question, each with its blank line at the end;
            None while they are not complete.

        Raises:
            AgentError: haproxy is gone, or the answer is too large. The conversation is of no use
                afterwards.
        """
        while self._due:
            try:
                chunk = self._connection.recv(_CHUNK_BYTES)
            except BlockingIOError:
                return None
            except OSError as exc:
                raise self._lost(exc) from exc
            if not chunk:
                raise self._lost(ConnectionResetError("haproxy has closed the connection"))
            self._received += chunk
            if len(self._received) > ANSWER_MAX_BYTES:
                raise AgentError(
                    f"haproxy answers too much on {self._path}", f"over {ANSWER_MAX_BYTES} bytes"
                )
            if self._received.endswith(_PROMPT) and self._received.count(_PROMPT) >= self._due:
                answers = self._complete()
                if not self._postponed:
                    return answers
                self._send_postponed()
        return None

    def close(self) -> None:
        """Let the worker go."""
        self._connection.close()

    def _complete(self) -> list[str]:
        text = self._received[: 1 - len(_PROMPT)].decode(errors="replace")
        answers = text.split(_PROMPT.decode(), self._due - 1)
        self._received.clear()
        self._due = 0
        return [f"{answer}\n" for answer in answers[:-1]] + answers[-1:]

    def _send_postponed(self) -> None:
        commands, self._postponed = self._postponed, ()
        try:
            self._send(commands)
        except OSError as exc:
            raise self._lost(exc) from exc

    def _send(self, commands: Sequence[str]) -> None:
        """All of it or nothing: it is short, and everything before has been read."""
        text = "".join(f"{command}\n" for command in commands).encode()
        if self._connection.send(text) != len(text):
            raise BlockingIOError("haproxy takes no question")
        self._due = len(commands)

    def _lost(self, error: OSError) -> AgentError:
        return AgentError(f"haproxy cannot be asked on {self._path}", str(error))


def readable(handles: Iterable[int], *, timeout_s: float) -> list[int]:
    """Wait until there is something to receive.

    Args:
        handles: of conversations (`Conversation.fileno`).

    Returns:
        Those that have something; none if time ran out.
    """
    poller = select.poll()
    for handle in handles:
        poller.register(handle, select.POLLIN)
    return [handle for handle, _ in poller.poll(math.ceil(timeout_s * 1000))]
