# SPDX-License-Identifier: Apache-2.0
"""QEMU's machine protocol over a unix socket: one JSON object a line, each answer awaited."""

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# Long for an idle host, short for a hung QEMU; emulation on a busy host needs some of it.
_ANSWER_DEADLINE_S = 30


class QmpError(RuntimeError):
    """QEMU refused a command, or did not answer."""


class Qmp:
    """A connection to one QEMU process. Source of the format: docs/interop/qmp-spec of QEMU."""

    def __init__(self, path: Path) -> None:
        """Connect and leave the negotiation state.

        Raises:
            OSError: nobody listens there (yet).
        """
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_ANSWER_DEADLINE_S)
        try:
            self._socket.connect(str(path))
            self._lines = self._socket.makefile("rb")
            self._next()  # the greeting
            self.execute("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def execute(self, command: str, **arguments: object) -> Any:
        """Run one command and return its value; events that arrive meanwhile are dropped.

        Raises:
            QmpError: the command was refused, or the connection ended.
        """
        self._socket.sendall(
            json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        )
        while True:
            answer = self._next()
            if "error" in answer:
                raise QmpError(f"{command} {arguments}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def close(self) -> None:
        """Hang up; QEMU goes on."""
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _next(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except TimeoutError as exc:
            raise QmpError(f"no answer from QEMU within {_ANSWER_DEADLINE_S} s") from exc
        if not line:
            raise QmpError("QEMU closed the connection")
        message: dict[str, Any] = json.loads(line)
        return message
