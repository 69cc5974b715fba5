# SPDX-License-Identifier: Apache-2.0
"""Measure how long a weight change takes until it is effective; as root, in namespaces of its own.

Each round has a change of one weight alone, which the agent applies by commands, and one of a
weight and a timeout, for which it has to reload haproxy. Both are an upload and a reload request,
each over a TLS connection of its own, as a controller sends them.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from amphora_agent.system import haproxy_socket
from bench.agent.haproxy_config import load_balancer
from tests.functional.conftest import Place, make_place
from tests.support import pki
from tests.support.mutual_tls import Client

LB = str(uuid.UUID("66666666-0000-4000-8000-000000000001"))
LISTENERS = (1, 10, 100)
_MEMORY_ROUNDS = 3
_MEMORY_EVERY_S = 0.002
_DEADLINE_S = 10
# Two of them would not fit into what haproxy may open where nothing raises the limit.
_MAXCONN, _LOWER = "maxconn 50000", "maxconn 400"


@dataclass(kw_only=True)
class Figures:
    """Of one kind of change: seconds of each round, and the most memory seen, in bytes (PSS)."""

    seconds: list[float] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)


def main() -> int:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.apply", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    found: dict[str, dict[str, list[float] | list[int]]] = {}
    print(f"load average: {os.getloadavg()[0]:.1f}, rounds: {arguments.rounds}\n")
    print(
        "| listeners | commands, ms | reload, ms | ratio | memory, MiB: idle | commands | reload |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as directory:
        authorities = pki.create(Path(directory))
        for listeners in LISTENERS:
            idle, commands, reloads = measure(authorities, listeners, arguments.rounds)
            print(_row(listeners, idle, commands, reloads), flush=True)
            found[f"{listeners} listeners"] = {
                "commands, s": commands.seconds,
                "reload, s": reloads.seconds,
                "commands, bytes": commands.memory_bytes,
                "reload, bytes": reloads.memory_bytes,
            }
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def measure(authorities: pki.Pki, listeners: int, rounds: int) -> tuple[int, Figures, Figures]:
    """Memory at rest, and both kinds of changes in turns, on a load balancer of its own."""
    commands, reloads = Figures(), Figures()
    with make_place(authorities) as place, _running(place) as client:
        _push(place, client, _config(place, listeners, weight=1, timeout_s=10))
        idle = memory_bytes(place)
        for number in range(rounds + _MEMORY_ROUNDS):
            for figures, timeout_s, sign in (
                (commands, 10 + number, "applied at run time"),
                (reloads, 11 + number, "haproxy reload:"),
            ):
                weight = 2 + (2 * number + (figures is reloads)) % 200
                config = _config(place, listeners, weight=weight, timeout_s=timeout_s)
                if number < rounds:
                    begin = time.perf_counter()
                    details = _push(place, client, config)
                    figures.seconds.append(time.perf_counter() - begin)
                else:
                    # Looking takes a processor, so it is not done while time is measured.
                    with _memory_peak(place, figures):
                        details = _push(place, client, config)
                check(sign in details, details)
                check(f",{weight}," in _weights(place), f"no weight {weight}")
                _settle(place)
        check(client.request("DELETE", f"/1.0/listeners/{LB}").status == 200, "delete")
    return idle, commands, reloads


def check(fulfilled: bool, shown: str) -> None:
    """Stop when something that was measured did not do what it is for."""
    if not fulfilled:
        raise SystemExit(f"what was measured did not work: {shown}")


def memory_bytes(place: Place) -> int:
    """Proportional set size of all processes of haproxy together."""
    total = 0
    for pid in place.inner.pids():
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def _row(listeners: int, idle: int, commands: Figures, reloads: Figures) -> str:
    fast, slow = statistics.median(commands.seconds), statistics.median(reloads.seconds)
    sizes = (idle, max(commands.memory_bytes), max(reloads.memory_bytes))
    return (
        f"| {listeners} | {fast * 1000:.1f} | {slow * 1000:.1f} | {fast / slow:.2f} | "
        + " | ".join(f"{size / 2**20:.1f}" for size in sizes)
        + " |"
    )


@contextmanager
def _running(place: Place) -> Iterator[Client]:
    process = place.start()
    try:
        place.await_answer()
        yield place.client(place.pki.controller)
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)


def _config(place: Place, listeners: int, *, weight: int, timeout_s: int) -> bytes:
    text = load_balancer(str(place.base), LB, listeners=listeners, revision=0).decode()
    text = text.replace(_MAXCONN, _LOWER).replace("bind 198.51.100.10", "bind 127.0.0.1")
    # The first member of the first listener; and a timeout of the first listener.
    text = text.replace("weight 1 ", f"weight {weight} ", 1)
    return text.replace("timeout client 50000", f"timeout client {timeout_s}s", 1).encode()


def _push(place: Place, client: Client, config: bytes) -> str:
    path = f"/1.0/loadbalancer/{place.amphora_id}/{LB}/haproxy"
    answer = client.request("PUT", path, config)
    check(answer.status == 202, answer.body.decode())
    answer = client.request("PUT", f"/1.0/loadbalancer/{LB}/reload")
    check(answer.status == 202, answer.body.decode())
    return str(answer.json()["details"])


def _weights(place: Place) -> str:
    return haproxy_socket.query(place.base / f"{LB}.sock", "show stat", timeout_s=_DEADLINE_S)


def _settle(place: Place) -> None:
    """Wait for the old worker to end, so that the next change begins with one."""
    deadline = time.monotonic() + _DEADLINE_S
    while len(place.inner.pids()) > 2 and time.monotonic() < deadline:
        time.sleep(0.02)


@contextmanager
def _memory_peak(place: Place, figures: Figures) -> Iterator[None]:
    """Look at the memory all the time, and keep the most."""
    stop = threading.Event()
    sizes = [memory_bytes(place)]

    def look() -> None:
        while not stop.wait(_MEMORY_EVERY_S):
            sizes.append(memory_bytes(place))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    figures.memory_bytes.append(max(sizes))


if __name__ == "__main__":
    sys.exit(main())
