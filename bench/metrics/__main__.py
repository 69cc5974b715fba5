# SPDX-License-Identifier: Apache-2.0
"""What a scrape costs, ours and upstream's side by side; as root.

The real haproxy in a namespace of its own, with as many listeners as asked for and a pool of ten
members behind each. Scraped are haproxy's exporter itself, our program, which its socket starts for
the first scrape, and upstream's, which is always there.
"""

import argparse
import http.client
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.netns import Namespace, namespace

REPOSITORY = Path(__file__).resolve().parents[2]
MEMBERS = 10
_HAPROXY = "/usr/sbin/haproxy"
_EXPORTER = 9101
_PROGRAM = 9102
_DEADLINE_S = 120.0
_POLL_S = 0.05
_THEIRS = """
from http.server import ThreadingHTTPServer
from octavia.cmd.prometheus_proxy import PrometheusProxy
ThreadingHTTPServer(("127.0.0.1", 9102), PrometheusProxy).serve_forever()
"""
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What scrapes of one program took.

    Attributes:
        walls_s: seconds to the end of each.
        size_bytes: of the last one.
        cpu_s: of the program, for one scrape, its start shared out.
        most_kb: the largest that a process of it was.
    """

    walls_s: list[float]
    size_bytes: int
    cpu_s: float = 0.0
    most_kb: int = 0


def main() -> int:
    """Run the benchmark; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=__doc__)
    parser.add_argument(
        "--octavia-python",
        default=os.environ.get("AMPHORA_OCTAVIA_PYTHON"),
        help="interpreter of a virtual environment with octavia==19.0.0",
    )
    parser.add_argument("--listeners", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--runs", type=int, default=5, help="scrapes of each (default: 5)")
    arguments = parser.parse_args()
    if arguments.octavia_python is None:
        parser.error("--octavia-python is missing")
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    version = subprocess.run([_HAPROXY, "-v"], capture_output=True, text=True, check=True).stdout
    print(f"- {version.split(' 20')[0]}, Linux {platform.release()}, {os.cpu_count()} processors")
    print(f"- load average: {os.getloadavg()[0]:.1f}\n")
    print("| listeners | scraped | median, s | first, s | CPU of the program, s | MiB | MB read |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for listeners in arguments.listeners:
        with namespace("bench") as inside, haproxy(inside, listeners):
            own = scrapes(inside, _EXPORTER, arguments.runs)
            print(row(listeners, "haproxy's exporter", own))
            for name, argv in (
                ("ours", our_program()),
                ("upstream's", [arguments.octavia_python, "-c", _THEIRS]),
            ):
                print(row(listeners, name, measure(inside, argv, arguments.runs)), flush=True)
    return 0


def row(listeners: int, name: str, found: Found) -> str:
    """A row of the table."""
    cpu, memory = (
        (f"{found.cpu_s:.2f}", f"{found.most_kb / 1024:.0f}") if found.most_kb else ("", "")
    )
    return (
        f"| {listeners} | {name} | {statistics.median(found.walls_s):.2f} |"
        f" {found.walls_s[0]:.2f} | {cpu} | {memory} | {found.size_bytes / 1e6:.1f} |"
    )


def our_program() -> list[str]:
    """Our program behind its socket."""
    return [
        *("systemd-socket-activate", f"--listen=127.0.0.1:{_PROGRAM}"),
        *(f"--setenv=PYTHONPATH={REPOSITORY}", "/usr/bin/python3", "-m"),
        "amphora_agent.prometheus_proxy",
    ]


def measure(inside: Namespace, argv: list[str], runs: int) -> Found:
    """Start a program, scrape it, end it."""
    process = subprocess.Popen(
        inside.command(*argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await_port(inside, _PROGRAM)
        found = scrapes(inside, _PROGRAM, runs)
        # A last question, so that the processes of the scrapes have been waited for.
        time.sleep(_POLL_S)
        ask(inside, _PROGRAM, "POST")
    finally:
        process.terminate()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return Found(
        walls_s=found.walls_s,
        size_bytes=found.size_bytes,
        cpu_s=(usage.ru_utime + usage.ru_stime) / runs,
        most_kb=usage.ru_maxrss,
    )


def scrapes(inside: Namespace, port: int, runs: int) -> Found:
    """Scrape some times, one after the other."""
    walls_s, size_bytes = [], 0
    for _ in range(runs):
        begin = time.monotonic()
        size_bytes = ask(inside, port, "GET")
        walls_s.append(time.monotonic() - begin)
    return Found(walls_s=walls_s, size_bytes=size_bytes)


def ask(inside: Namespace, port: int, method: str) -> int:
    """Ask once; the bytes of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_DEADLINE_S)
    try:
        with inside.entered():
            connection.connect()
        connection.request(method, "/metrics")
        answer = connection.getresponse()
        if method == "GET" and answer.status != 200:
            raise SystemExit(f"port {port} answered with {answer.status}")
        size = 0
        while piece := answer.read(_READ_BYTES):
            size += len(piece)
        return size
    finally:
        connection.close()


def await_port(inside: Namespace, port: int) -> None:
    """Wait until somebody listens, without connecting: that would start our program."""
    deadline_s = time.monotonic() + _DEADLINE_S
    asked = ["ss", "--no-header", "--listening", "--tcp", f"sport = {port}"]
    while not subprocess.run(inside.command(*asked), capture_output=True, check=True).stdout:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"nobody listens on port {port}")
        time.sleep(_POLL_S)


@contextmanager
def haproxy(inside: Namespace, listeners: int) -> Iterator[None]:
    """A real haproxy that has its exporter where Octavia puts it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        file = Path(directory, "haproxy.cfg")
        file.write_text(config(listeners))
        process = subprocess.Popen(
            inside.command(_HAPROXY, "-db", "-f", str(file)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await_port(inside, _EXPORTER)
            yield
        finally:
            process.terminate()
            process.wait(timeout=_DEADLINE_S)


def config(listeners: int) -> str:
    """haproxy.cfg; names are as long as Octavia's."""
    text = f"""global
    maxconn 50
defaults
    mode http
    timeout client 60s
    timeout connect 60s
    timeout server 60s
frontend prometheus-exporter-internal-endpoint
    bind 127.0.0.1:{_EXPORTER}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request reject
"""
    for number in range(listeners):
        listener = uuid.uuid4()
        pool = f"{uuid.uuid4()}:{listener}"
        text += f"frontend {listener}\n    bind 127.0.0.1:{20_000 + number}\n"
        text += f"    default_backend {pool}\nbackend {pool}\n"
        for member in range(1, MEMBERS + 1):
            text += f"    server {uuid.uuid4()} 192.0.2.{member}:80 weight 1\n"
    return text


if __name__ == "__main__":
    sys.exit(main())
