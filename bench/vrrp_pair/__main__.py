# SPDX-License-Identifier: Apache-2.0
"""Measure the seconds without the VIP when the active amphora of a pair dies, or its haproxy.

As root. Two real keepalived run in namespaces on one bridge. Both are told the same by each of
several configurations in turns: Octavia's own, and ours of documents that ask for more. Of a dead
amphora the link goes down and every process is killed at once. In place of haproxy a program of
another name runs on each side, since the kernel tells of all processes of a machine; the check
script looks whether it lives. Which side has the VIP is looked up every 20 ms.
"""

import argparse
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.balancer import keepalived
from amphora_agent.layout import Layout
from tests.support.keepalived_documents import Part, decode, spelled_out
from tests.support.vrrp_pair import IDS, Side, document, seconds_until_vip, sides

REPOSITORY = Path(__file__).resolve().parents[2]
_DEADLINE_S = 60.0
_FAST: Part = {"version": 3, "advert_interval_ms": 200}
_BFD: Part = {"bfd": {"interval_ms": 50, "multiplier": 3}}
_OURS: dict[str, Part] = {
    "ours, 1 s": {},
    "ours, 1 s, BFD": _BFD,
    "ours, 200 ms": _FAST,
    "ours, 200 ms, BFD": _FAST | _BFD,
    "ours, 200 ms, process tracking": _FAST | {"track_process": True},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rig:
    """Both sides, and the programs that stand for their haproxies."""

    sides: tuple[Side, Side]
    programs: tuple[Path, Path]


def main() -> int:
    """Run the benchmark and print a table; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.vrrp_pair", description=__doc__)
    parser.add_argument(
        "--octavia-python",
        type=Path,
        default=os.environ.get("AMPHORA_OCTAVIA_PYTHON"),
        help="interpreter of a virtual environment with octavia==19.0.0",
    )
    parser.add_argument("--rounds", type=int, default=10, help="of each kind (default: 10)")
    parser.add_argument("--json", type=Path, help="write every figure, in seconds, to this file")
    arguments = parser.parse_args()
    if arguments.octavia_python is None:
        parser.error("--octavia-python is missing")
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    load_before = os.getloadavg()[0]
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, rig(Path(directory)) as made:
        told = configurations(made, arguments.octavia_python)
        for number in range(arguments.rounds):
            for name, texts in told.items():
                deaths = found.setdefault(name, {"amphora": [], "haproxy": []})
                deaths["amphora"].append(one_round(made, texts, cut_amphora))
                deaths["haproxy"].append(one_round(made, texts, end_haproxy))
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    print(f"load average: {load_before:.1f} before, {os.getloadavg()[0]:.1f} after")
    print(f"rounds: {arguments.rounds}\n")
    print(markdown(found), end="")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def markdown(found: dict[str, dict[str, list[float]]]) -> str:
    """The table: median, least and most of each."""
    text = "| configuration | amphora dies, s | haproxy dies, s |\n| --- | --- | --- |\n"
    for name, deaths in found.items():
        columns = (
            f"{statistics.median(taken):.2f} ({min(taken):.2f} to {max(taken):.2f})"
            for taken in (deaths["amphora"], deaths["haproxy"])
        )
        text += f"| {name} | {' | '.join(columns)} |\n"
    return text


@contextmanager
def rig(directory: Path) -> Iterator[Rig]:
    """Both sides with their check scripts; nothing runs."""
    with sides(directory) as made:
        programs = []
        for side in made:
            program = side.directory / f"hap-{secrets.token_hex(4)}"
            shutil.copy("/bin/sleep", program)
            programs.append(program)
            script = Layout(base=side.directory).check_script
            script.parent.mkdir()
            script.write_text(f"#!/bin/sh\nkill -0 $(cat {program}.pid)\n")
            script.chmod(0o755)
        one, two = programs
        yield Rig(sides=made, programs=(one, two))


def configurations(made: Rig, octavia_python: Path) -> dict[str, tuple[str, str]]:
    """The texts for both sides, by the name of the configuration."""
    told: dict[str, tuple[str, str]] = {}
    theirs = by_octavia(document(), octavia_python)
    parts: dict[str, Callable[[Side, str], str]] = {"Octavia's": lambda _, name: theirs[name]}
    for kind, vrrp in _OURS.items():
        parts[kind] = lambda side, name, vrrp=vrrp: keepalived.config(  # type: ignore[misc]
            decode(document(**vrrp)), name, "eth1", Layout(base=side.directory)
        )
    for kind, text in parts.items():
        one, two = (
            text(side, name)
            .replace(str(Layout().base), str(side.directory))
            .replace("process haproxy\n", f"process {program.name}\n")
            for side, name, program in zip(made.sides, IDS, made.programs, strict=True)
        )
        told[kind] = (one, two)
    return told


def by_octavia(part: Part, octavia_python: Path) -> dict[str, str]:
    """Octavia's texts by the ids of the amphorae."""
    done = subprocess.run(
        [str(octavia_python), "-W", "ignore", "-m", "tests.support.octavia_keepalived"],
        cwd=REPOSITORY,
        input=json.dumps([spelled_out(decode(part))]),
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=True,
    )
    [texts] = json.loads(done.stdout)
    return dict(texts["vrrp"])


def one_round(
    made: Rig, texts: tuple[str, str], death: Callable[[Side, subprocess.Popen[bytes]], None]
) -> float:
    """Start the pair, let something of the active one die; seconds until the other has the VIP.

    On a busy machine a standby can take a late advertisement for a lost one: then it begins again.
    """
    one, two = made.sides
    while True:
        running = [start_program(program) for program in made.programs]
        try:
            one.start(texts[0])
            one.await_vip()
            two.start(texts[1])
            two.await_log("BACKUP STATE")
            if "track_bfd" in texts[1]:
                two.await_log("is UP")
            # A random part of the interval of checks, so that no round is in step with them.
            time.sleep(1 + secrets.randbelow(1000) / 1000)
            if two.has_vip():
                print("the standby took over too early; once more", file=sys.stderr)
                continue
            begin_s = time.monotonic()
            death(one, running[0])
            return seconds_until_vip(two, begin_s)
        finally:
            for process in running:
                process.kill()
                process.wait()
            one.stop()
            two.stop()


def start_program(program: Path) -> subprocess.Popen[bytes]:
    """Start what stands for a haproxy."""
    process = subprocess.Popen([program, "600"])
    Path(f"{program}.pid").write_text(f"{process.pid}\n")
    return process


def cut_amphora(side: Side, _: subprocess.Popen[bytes]) -> None:
    """The active amphora loses its power."""
    side.cut()


def end_haproxy(_: Side, process: subprocess.Popen[bytes]) -> None:
    """haproxy of the active amphora is killed."""
    process.kill()
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
