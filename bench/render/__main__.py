# SPDX-License-Identifier: Apache-2.0
"""Rendering of haproxy.cfg: this agent's and Octavia's own, side by side in one run.

python -m bench.render [--rounds N] [--json FILE]

Both render documents of 1, 100 and 1,000 listeners with a pool of ten members each, in turns, and
every figure is the median of all rounds. Not counted: start of the interpreters, making of models;
decoding and checking of the document has a figure of its own. Octavia's renderer runs in its own
interpreter (AMPHORA_OCTAVIA_PYTHON).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from amphora_agent.balancer import checks, haproxy, values
from amphora_agent.balancer.haproxy import Host
from amphora_agent.layout import Layout

_SIZES = (1, 100, 1000)
_MEMBERS = 10
_TARGET = 0.5
_DEADLINE_S = 300
_REPOSITORY = Path(__file__).resolve().parents[2]
_MACHINE = {
    "cpu_count": 1,
    "active_tuned_profiles": "",
    "memory": {"free": 1, "buffers": 1, "cached": 1},
}


def document(listeners: int) -> dict[str, Any]:
    """A load balancer of HTTP listeners, each with a pool of its own and a health monitor."""

    def name(kind: int, number: int) -> str:
        return str(uuid.UUID(int=(kind << 64) + number, version=4))

    return {
        "id": name(1, 0),
        "project_id": "0123456789abcdef0123456789abcdef",
        "vip": {"address": "192.0.2.10", "subnet": "192.0.2.0/24"},
        "listeners": [
            {
                "id": name(2, number),
                "protocol": "HTTP",
                "port": 1 + number,
                "default_pool": name(3, number),
                "insert_headers": ["X-Forwarded-For"],
            }
            for number in range(listeners)
        ],
        "pools": [
            {
                "id": name(3, number),
                "protocol": "HTTP",
                "health_monitor": {"type": "HTTP"},
                "members": [
                    {
                        "id": name(4, number * _MEMBERS + member),
                        "address": f"10.{number // 250}.{number % 250}.{member + 1}",
                        "port": 8080,
                    }
                    for member in range(_MEMBERS)
                ],
            }
            for number in range(listeners)
        ],
    }


def ours(data: bytes) -> dict[str, float]:
    """Seconds for decoding with checks, and for rendering."""
    begin = time.perf_counter()
    decoded = checks.decode(data)
    middle = time.perf_counter()
    haproxy.config(decoded, Host(layout=Layout()))
    return {"decode": middle - begin, "render": time.perf_counter() - middle}


def octavias(interpreter: str, data: bytes) -> float:
    """Seconds for rendering."""
    spelled_out = msgspec.to_builtins(checks.decode(data), enc_hook=values.encode)
    done = subprocess.run(
        [interpreter, "-W", "ignore", "-m", "tests.support.octavia_haproxy"],
        cwd=_REPOSITORY,
        # The first one compiles templates; it does not count.
        input=json.dumps({"documents": [spelled_out], "machine": _MACHINE, "warm_up": True}),
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=True,
    )
    return float(json.loads(done.stdout)["seconds"])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 0 if the target is reached."""
    parser = argparse.ArgumentParser(prog="bench.render", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    interpreter = os.environ.get("AMPHORA_OCTAVIA_PYTHON")
    if not interpreter:
        parser.error("AMPHORA_OCTAVIA_PYTHON names no interpreter with Octavia; see ./test.sh")
    data = {size: json.dumps(document(size)).encode() for size in _SIZES}
    ours(data[1])
    taken: dict[str, list[float]] = {}
    for number in range(arguments.rounds):
        for size in _SIZES:
            for kind, seconds in ours(data[size]).items():
                taken.setdefault(f"{kind} {size}", []).append(seconds)
            taken.setdefault(f"octavia {size}", []).append(octavias(interpreter, data[size]))
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    print("| listeners | decode and check | render | Octavia renders | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for size in _SIZES:
        decode, render, theirs = (
            medians[f"{kind} {size}"] * 1000 for kind in ("decode", "render", "octavia")
        )
        print(
            f"| {size} | {decode:.2f} ms | {render:.2f} ms | {theirs:.2f} ms "
            f"| {render / theirs:.2f} |"
        )
    growth = medians["render 1000"] / medians["render 100"]
    print(f"\nFrom 100 to 1,000 listeners: {growth:.1f} times the time.")
    if arguments.json:
        arguments.json.write_text(json.dumps(taken, indent=1))
    return 0 if medians["render 1000"] / medians["octavia 1000"] <= _TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
