# SPDX-License-Identifier: Apache-2.0
"""The real haproxy of one load balancer, as the tests of the heartbeat need it; on loopback."""

import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from amphora_agent.errors import AgentError
from amphora_agent.system.haproxy_socket import query
from tests.support import waiting
from tests.support.heartbeat_lab import DEADLINE_S, LB, LISTENER, MEMBER, POOL, end

# A worker that hangs is asked again: it may have been replaced.
_ANSWER_S = 1.0


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


@contextmanager
def hung(process_id: int) -> Iterator[None]:
    """A process does nothing, from the first moment on, until the end of this."""
    os.kill(process_id, signal.SIGSTOP)
    try:
        # Each thread stops by itself.
        threads = list(Path(f"/proc/{process_id}/task").glob("*/stat"))
        waiting.until(
            f"process {process_id} to stop",
            lambda: all(_state(path) == "T" for path in threads) or None,
            deadline_s=DEADLINE_S,
            every_s=0.01,
        )
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGCONT)


def _state(path: Path) -> str:
    """Of a process or thread, by its stat file (proc(5))."""
    return path.read_text().rpartition(") ")[2][:1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
