# SPDX-License-Identifier: Apache-2.0
"""The real heartbeat sender as a process, with the real haproxy, judged by Octavia's own code.

All traffic stays on loopback.
"""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from amphora_agent.errors import AgentError
from amphora_agent.system.haproxy_socket import query
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
# A worker that hangs is asked again: it may have been replaced.
_ANSWER_S = 1.0

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


class Haproxy:
    """The real haproxy of one load balancer, with one HTTP listener that answers by itself.

    A frontend that is no listener leads to a member that never says anything: who is connected
    there keeps a worker alive that a reload has replaced.
    """

    def __init__(
        self, base: Path, number: int, servers: str | None, tcp_member: int | None
    ) -> None:
        self.lb_id = f"{LB}{number}"
        self.listener = f"{LISTENER}{number}"
        self.pool = f"{POOL}{number}:{self.listener}"
        self.port = free_port()
        self._silent = socket.create_server(("127.0.0.1", 0))
        self._silent.settimeout(DEADLINE_S)
        self._holder = free_port()
        self._directory = base / self.lb_id
        self._socket = base / f"{self.lb_id}.sock"
        self._base = base
        self._directory.mkdir()
        self._configure(servers, tcp_member)
        self.process = self._started()
        self.await_worker()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *("haproxy", "-W", "-db", "-f", str(self._config)),
                *("-S", f"{self._directory}/master.sock,mode,600"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """End master and worker without giving them a chance to say anything."""
        worker = self.await_worker()
        self.process.kill()
        self.process.wait(timeout=DEADLINE_S)
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)

    def start(self) -> None:
        """Start it again."""
        self.process = self._started()
        self.await_worker()

    def close(self) -> None:
        """End it."""
        end(self.process)
        self._silent.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the worker of now alive, whatever is reloaded."""
        with socket.create_connection(("127.0.0.1", self._holder)):
            member, _ = self._silent.accept()
            with member:
                yield

    @property
    def _config(self) -> Path:
        return self._directory / "haproxy.cfg"

    def _configure(self, servers: str | None, tcp_member: int | None) -> None:
        if servers is None:
            servers = f"    server {MEMBER}01 127.0.0.1:{tcp_member or self.port}\n"
        answer = "http-request return status 200 content-type text/plain string hello"
        mode = "mode http" if tcp_member is None else "mode tcp"
        self._config.write_text(
            f"""global
    maxconn 200
    stats socket {self._socket} mode 0666 level user
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend prometheus-exporter-internal-endpoint
    bind 127.0.0.1:{free_port()}
    http-request use-service prometheus-exporter if {{ path /metrics }}
backend prometheus-exporter-internal
    server prometheus-internal 127.0.0.1:9102
listen holder
    mode tcp
    bind 127.0.0.1:{self._holder}
    server silent 127.0.0.1:{self._silent.getsockname()[1]}
frontend {self.listener}
    {mode}
    bind 127.0.0.1:{self.port}
    {answer if tcp_member is None else ""}
    default_backend {self.pool}
backend {self.pool}
    {mode}
{servers}"""
        )

    def worker(self) -> int | None:
        """Process id of the worker that answers on the stats socket."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_ANSWER_S)
                connection.connect(str(self._socket))
                connection.sendall(b"show info\n")
                with connection.makefile() as lines:
                    return int(next(line for line in lines if line.startswith("Pid: "))[5:])
        except (OSError, StopIteration):
            return None

    def await_worker(self) -> int:
        """Wait until a worker answers."""
        return waiting.until("haproxy's worker", self.worker, deadline_s=DEADLINE_S, every_s=0.02)

    def reload(self) -> None:
        """Replace the worker, and wait until the old one is gone: both may accept until then."""
        before = self.await_worker()
        # The master misses the signal while it still starts, so it may need another.
        for _ in range(10):
            self.process.send_signal(signal.SIGUSR2)
            with suppress(waiting.DeadlinePassedError):
                waiting.until(
                    "the old worker's end",
                    lambda: None if Path(f"/proc/{before}").exists() else True,
                    deadline_s=DEADLINE_S / 10,
                    every_s=0.02,
                )
                break
        assert self.await_worker() != before

    def replace_worker(self, hung: int | None = None) -> int:
        """Reload, and wait until a new worker answers; the process id of the old one.

        Args:
            hung: the old one, which does not answer.
        """
        before = hung or self.await_worker()
        waiting.until("the master", self._ask_for_reload, deadline_s=DEADLINE_S, every_s=0.02)
        waiting.until(
            "a new worker",
            lambda: self.worker() not in {None, before} or None,
            deadline_s=DEADLINE_S,
            every_s=0.02,
        )
        return before

    def _ask_for_reload(self) -> bool | None:
        try:
            query(self._directory / "master.sock", "reload", timeout_s=DEADLINE_S)
        except AgentError as exc:
            # While it loads itself anew it refuses; when it begins to, it goes away.
            return None if isinstance(exc.__cause__, ConnectionRefusedError) else True
        return True

    def serve(self, requests: int) -> None:
        """Ask the listener so often, each time on a connection of its own."""
        for _ in range(requests):
            with closing(http.client.HTTPConnection("127.0.0.1", self.port)) as client:
                client.request("GET", "/")
                assert client.getresponse().read() == b"hello"


class StartHaproxy(Protocol):
    """Starts the haproxy of one load balancer.

    Args:
        servers: lines of its backend; one member without check by default.
        tcp_member: port on loopback to which the listener hands bytes as they are.
    """

    def __call__(
        self, number: int, servers: str | None = None, *, tcp_member: int | None = None
    ) -> Haproxy: ...


class Reported:
    """Adds the new sessions of one listener up over all datagrams, as the controller does."""

    def __init__(self, listener: Listener, octavia: Opener, listener_id: str) -> None:
        self._listener = listener
        self._octavia = octavia
        self._listener_id = listener_id

    def sessions(self) -> int:
        """New sessions in all datagrams so far."""
        messages = [self._octavia.message(item.payload) for item in self._listener.received()]
        found = [message["listeners"].get(self._listener_id) for message in messages]
        return sum(entry["stats"]["totconns"] for entry in found if entry)

    def await_sessions(self, count: int) -> None:
        """Wait until so many are reported."""
        waiting.until(
            f"{count} sessions",
            lambda: True if self.sessions() >= count else None,
            deadline_s=DEADLINE_S,
            every_s=0.1,
        )
        assert self.sessions() == count


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
