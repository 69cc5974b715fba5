# SPDX-License-Identifier: Apache-2.0
"""Measure both senders on the same haproxy, or print what is sent with many members."""

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.agent.__main__ import machine
from bench.heartbeat import balancer, floor, senders, sizes
from bench.heartbeat.senders import Cost

MEMBERS = (10, 1_000, 2_500)
_CPU_TARGET, _PSS_TARGET = 0.30, 0.25

Found = dict[int, dict[str, list[Cost]]]


def main() -> int:
    """Run the benchmark; returns 0 if every target is reached, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bench.heartbeat", description=__doc__)
    parser.add_argument("--sizes", action="store_true", help="only what is sent; no process is run")
    parser.add_argument(
        "--floor", action="store_true", help="only what it costs before anything is asked"
    )
    parser.add_argument(
        "--octavia-python",
        type=Path,
        default=os.environ.get("AMPHORA_OCTAVIA_PYTHON"),
        help="interpreter of a virtual environment with octavia==19.0.0 and pyroute2",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each sender (default: 3)")
    parser.add_argument("--heartbeats", type=int, default=10, help="in each round (default: 10)")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    arguments = parser.parse_args()
    if arguments.sizes:
        print(sizes.table())
        return 0
    if arguments.floor:
        print(floor.table())
        return 0
    if arguments.octavia_python is None:
        parser.error("--octavia-python is missing")
    facts = machine(arguments.octavia_python)
    found: Found = {}
    for members in MEMBERS:
        found[members] = {"ours": [], "upstream": []}
        for number in range(arguments.rounds):
            for name, costs in found[members].items():
                with (
                    # haproxy takes no long paths of sockets.
                    tempfile.TemporaryDirectory(prefix="bench-hb-") as directory,
                    balancer.running(Path(directory), members=members) as running,
                ):
                    cost = senders.measure(
                        name,
                        arguments.octavia_python,
                        running.base,
                        heartbeats=arguments.heartbeats,
                        serve=running.serve,
                    )
                costs.append(cost)
                print(f"{members} members, round {number}, {name}: {cost}", file=sys.stderr)
    if arguments.json:
        rows = {
            str(members): {name: [asdict(cost) for cost in costs] for name, costs in both.items()}
            for members, both in found.items()
        }
        arguments.json.write_text(json.dumps({"machine": facts, **rows}, indent=1) + "\n")
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()), end="\n\n")
    table = markdown(found)
    print(table)
    return 1 if "NO |" in table else 0


def markdown(found: Found) -> str:
    """Medians over all rounds, with their ratios and targets."""
    lines = [
        "| members | what | this sender | upstream | ratio | target |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for members, both in found.items():
        for what, unit, scale, target in (
            ("cpu_s", "ms CPU per heartbeat", 1000.0, _CPU_TARGET),
            ("pss_bytes", "MiB PSS", 1 / 2**20, _PSS_TARGET),
            ("datagram_bytes", "bytes per datagram", 1.0, None),
        ):
            ours, upstream = (
                statistics.median(getattr(cost, what) for cost in both[name]) * scale
                for name in ("ours", "upstream")
            )
            ratio = ours / upstream
            verdict = ""
            if target is not None:
                verdict = f"≤ {target}: {'yes' if ratio <= target else 'NO'}"
            lines.append(
                f"| {members} | {unit} | {ours:.5g} | {upstream:.5g} | {ratio:.2f} | {verdict} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
