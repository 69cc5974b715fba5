# SPDX-License-Identifier: Apache-2.0
"""The real heartbeat sender as a process, with the real haproxy, judged by Octavia's own code.

All traffic stays on loopback.
"""

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support import waiting
from tests.support.heartbeats import Listener
from tests.support.netns import Namespace

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON_VARIABLE = "AMPHORA_OCTAVIA_PYTHON"
AMPHORA_ID = "a1b2c3d4-0000-4000-8000-000000000001"
LB = "10adba1a-0000-4000-8000-00000000000"
LISTENER = "1157e4e2-0000-4000-8000-00000000000"
POOL = "9001d000-0000-4000-8000-00000000000"
MEMBER = "3e3be200-0000-4000-8000-0000000000"
KEY = "key-of-this-test"
# Refused by the kernel without a packet: a socket must ask before it may broadcast.
REFUSED = "255.255.255.255:5555"
DEADLINE_S = 30.0

# Reads lines of {"datagram", "key"} and answers each with what Octavia makes of it.
OPENER = """
import base64, json, sys
from octavia.amphorae.backends.health_daemon import status_message
for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = {"message": status_message.unwrap_envelope(
            base64.b64decode(asked["datagram"]), asked["key"])}
    except Exception as exc:
        answer = {"error": type(exc).__name__}
    print(json.dumps(answer), flush=True)
"""


class Opener:
    """Octavia's own code that opens heartbeats, in the interpreter where Octavia is installed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def answer(self, datagram: bytes, key: str = KEY) -> Any:
        """{"message": …} or {"error": name of the exception}."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"datagram": base64.b64encode(datagram).decode(), "key": key}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def message(self, datagram: bytes, key: str = KEY) -> Any:
        """The message of a datagram that Octavia accepts."""
        return self.answer(datagram, key)["message"]


class Systemd:
    """The other end of a notify socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(DEADLINE_S)

    def hear(self) -> str:
        """Wait for the next message."""
        self.said.append(self._socket.recv(65536).decode())
        return self.said[-1]

    def hear_until(self, text: str) -> str:
        """Wait for a message that contains a text."""
        while text not in (message := self.hear()):
            pass
        return message

    def forget(self) -> None:
        """Pass over everything that has been said until now."""
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.hear()
        self._socket.settimeout(DEADLINE_S)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


class Amphora:
    """Directories and processes of one amphora, without the virtual machine."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.base = directory / "base"
        self.config = directory / "amphora-agent.conf"
        self.log = directory / "journal"
        self.systemd = Systemd(directory / "notify")
        self._stack = stack
        self._processes: list[subprocess.Popen[bytes]] = []
        stack.callback(self.systemd.close)
        self.base.mkdir()
        self.counters = self.base / "stats_counters.json"
        self.log.touch()

    def configure(
        self,
        controllers: Sequence[str],
        *,
        interval: str = "0.1",
        key: str | None = KEY,
        amphora_id: str = AMPHORA_ID,
    ) -> None:
        """Write amphora-agent.conf as the agent does: a new file under the old name."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text(
            f"[haproxy_amphora]\nbase_path = {self.base}\n"
            f"[health_manager]\ncontroller_ip_port_list = {', '.join(controllers)}\n"
            f"heartbeat_interval = {interval}\nheartbeat_key = {key}\n"
            f"[amphora_agent]\namphora_id = {amphora_id}\n"
        )
        fresh.replace(self.config)

    def start(
        self, inside: Namespace | None = None, /, **variables: str
    ) -> subprocess.Popen[bytes]:
        """Start a sender; it is ended with the test, if it is still there."""
        program = [sys.executable, "-W", "error", "-m", "amphora_agent.heartbeat_sender"]
        with self.log.open("ab") as journal:
            process = subprocess.Popen(
                [
                    *(inside.command(*program) if inside is not None else program),
                    *("--config-file", str(self.config)),
                ],
                cwd=REPOSITORY,
                env={**os.environ, "NOTIFY_SOCKET": str(self.systemd.path), **variables},
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=journal,
            )
        self._stack.callback(end, process)
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """End every sender."""
        for process in self._processes:
            end(process)

    def journal(self) -> str:
        """What the senders wrote."""
        return self.log.read_text()

    def await_journal(self, text: str) -> None:
        """Wait until a sender has written a text."""
        waiting.until(
            f"{text!r} in the journal",
            lambda: True if text in self.journal() else None,
            deadline_s=DEADLINE_S,
            every_s=0.02,
        )

    def beats(self, count: int) -> list[str]:
        """Wait for so many whole periods from now on; returns the status of each."""
        self.systemd.forget()
        # The first one may be of a period that had begun before.
        self.systemd.hear_until("STATUS=")
        return [self.systemd.hear_until("STATUS=") for _ in range(count)]


@contextmanager
def health_manager(host: str = "127.0.0.1") -> Iterator[tuple[Listener, str]]:
    """Someone who hears heartbeats, and their entry in the controller list."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ear = socket.socket(family, socket.SOCK_DGRAM)
    ear.bind((host, 0))
    port = ear.getsockname()[1]
    listener = Listener(ear)
    try:
        yield listener, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    finally:
        listener.close()


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
