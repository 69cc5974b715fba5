# SPDX-License-Identifier: Apache-2.0
"""Both senders as processes, and what one costs."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.agent.one_round import service

_REPOSITORY = Path(__file__).resolve().parents[2]
_INTERVAL_S = 1
_KEY = "key-of-the-benchmark"
_AMPHORA_ID = "a1b2c3d4-0000-4000-8000-000000000001"
_DEADLINE_S = 120.0
# The first heartbeats fill caches, and take the counters in.
_WARM_UP = 3
# As the runtime directory of a unit: in memory.
_MEMORY = "/dev/shm"  # noqa: S108  # a directory of its own is made in it

# As upstream's agent does it: the sender is a child of the agent, whose modules it has loaded.
_UPSTREAM = """
import multiprocessing, sys
from octavia.cmd import agent
from octavia.amphorae.backends.health_daemon import health_daemon
from octavia.common import config
config.init(sys.argv[1:])
queue = multiprocessing.Queue()
child = multiprocessing.Process(target=health_daemon.run_sender, args=(queue,), daemon=True)
child.start()
child.join()
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one sender takes.

    Attributes:
        cpu_s: user and system time of one heartbeat.
        datagram_bytes: payload of one.
        pss_bytes: of the process that sends, after the last heartbeat.
    """

    cpu_s: float
    datagram_bytes: int
    pss_bytes: int


def measure(
    name: str, octavia_python: Path, base: Path, *, heartbeats: int, serve: Callable[[], None]
) -> Cost:
    """Run one sender for some heartbeats.

    Args:
        name: `ours` or `upstream`.
        base: base_path with the haproxy that it asks.
        serve: makes a little traffic; called once for each heartbeat.
    """
    with (
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as ear,
        closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd,
        tempfile.TemporaryDirectory(dir=_MEMORY, prefix="bench-hb-") as runtime,
    ):
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(_DEADLINE_S)
        systemd.bind(f"{runtime}/notify")
        systemd.setblocking(False)
        config = base / f"{name}.conf"
        config.write_text(_config(base, ear.getsockname()[1]))
        with _started(name, octavia_python, config, runtime) as process:
            for _ in range(_WARM_UP):
                ear.recv(65536)
            sender = _sender(process)
            begin_s = _cpu_s(sender)
            sizes = []
            for _ in range(heartbeats):
                serve()
                sizes.append(len(ear.recv(65536)))
                _drain(systemd)
            # The time after the send, for the counters, belongs to the heartbeat.
            time.sleep(_INTERVAL_S / 3)
            return Cost(
                cpu_s=(_cpu_s(sender) - begin_s) / heartbeats,
                datagram_bytes=max(sizes),
                pss_bytes=sender.memory_full_info().pss,
            )


def _drain(systemd: socket.socket) -> None:
    with suppress(BlockingIOError):
        while True:
            systemd.recv(4096)


def _config(base: Path, port: int) -> str:
    return (
        f"[haproxy_amphora]\nbase_path = {base}\n"
        f"[health_manager]\ncontroller_ip_port_list = 127.0.0.1:{port}\n"
        f"heartbeat_interval = {_INTERVAL_S}\nheartbeat_key = {_KEY}\n"
        f"[amphora_agent]\namphora_id = {_AMPHORA_ID}\n"
    )


@contextmanager
def _started(
    name: str, octavia_python: Path, config: Path, runtime: str
) -> Iterator[psutil.Process]:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONWARNINGS": "ignore"}
    if name == "ours":
        variables, script = _unit()
        argv = ["/usr/bin/env", *variables, sys.executable, "-c", script]
        # As systemd has it: a status file, and word of how it goes.
        environment |= {
            "RUNTIME_DIRECTORY": runtime,
            "NOTIFY_SOCKET": f"{runtime}/notify",
            "WATCHDOG_USEC": "30000000",
        }
    else:
        argv = [str(octavia_python), "-c", _UPSTREAM]
    with subprocess.Popen(
        [*argv, "--config-file", str(config)],
        cwd=_REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as started:
        process = psutil.Process(started.pid)
        try:
            yield process
        finally:
            children = process.children(recursive=True)
            started.terminate()
            for child in children:
                child.terminate()
            psutil.wait_procs(children, timeout=_DEADLINE_S)
            started.wait(timeout=_DEADLINE_S)


def _unit() -> tuple[list[str], str]:
    """The environment of our unit, and what the script of its entry point does."""
    words = service("amphora-heartbeat.service", "heartbeat_sender")
    at = words.index("bin/python")
    return list(words[1:at]), words[-1]


def _sender(process: psutil.Process) -> psutil.Process:
    """The process that sends: upstream's is a child."""
    children = process.children()
    return children[0] if children else process


def _cpu_s(process: psutil.Process) -> float:
    """Time on a processor of all threads, and of programs that it started and waited for.

    The scheduler counts in nanoseconds (/proc/<pid>/task/<tid>/schedstat), where the usual times
    are in hundredths of a second.
    """
    tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    own_ns = sum(int(path.read_text().split()[0]) for path in tasks)
    times = process.cpu_times()
    return own_ns / 1e9 + float(times.children_user + times.children_system)
