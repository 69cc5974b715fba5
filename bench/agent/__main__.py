# SPDX-License-Identifier: Apache-2.0
"""Measure this agent and upstream's side by side; as root, on Debian or Ubuntu.

Rounds of both agents alternate, each in mount and network namespaces of its own, so that what else
the machine does meets both alike.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.agent import plot, report

REPOSITORY = Path(__file__).resolve().parents[2]
_ROUND_DEADLINE_S = 300


def main() -> int:
    """Run the benchmark; returns 0 if every target is reached, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bench.agent", description=__doc__)
    parser.add_argument(
        "--octavia-python",
        type=Path,
        default=os.environ.get("AMPHORA_OCTAVIA_PYTHON"),
        help="interpreter of a virtual environment with octavia==19.0.0 and pyroute2",
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each agent (default: 5)")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--svg", type=Path, help="draw the ratios into this file")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="what the agents print")
    arguments = parser.parse_args()
    if arguments.octavia_python is None:
        parser.error("--octavia-python is missing")
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    prefix = Path(arguments.octavia_python).absolute().parents[1]
    rounds: dict[str, list[report.Round]] = {"ours": [], "upstream": []}
    load_before = os.getloadavg()[0]
    # The first round of each fills the page cache and writes byte code; it does not count.
    for number in range(arguments.rounds + 1):
        for agent, found in rounds.items():
            result = one_round(agent, prefix, arguments.log)
            if number:
                found.append(result)
            print(f"round {number} {agent}: start {result['start_s']:.2f} s", file=sys.stderr)
    facts = machine(arguments.octavia_python)
    facts |= {
        "load average": f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after",
        "rounds": arguments.rounds,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": facts, **rounds}, indent=1) + "\n")
    if arguments.svg:
        arguments.svg.write_text(plot.ratios(report.lines(rounds["ours"], rounds["upstream"])))
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()), end="\n\n")
    table = report.markdown(rounds["ours"], rounds["upstream"])
    print(table, end="")
    return 1 if "NO |" in table else 0


def one_round(agent: str, prefix: Path, log: Path) -> report.Round:
    """Measure one agent once."""
    done = subprocess.run(
        ["/usr/bin/unshare", "--mount", "--net", "--propagation", "private",
         sys.executable, "-m", "bench.agent.one_round", agent, str(prefix), str(log)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=_ROUND_DEADLINE_S,
        check=True,
    )  # fmt: skip
    result: report.Round = json.loads(done.stdout)
    return result


def machine(octavia_python: Path) -> dict[str, Any]:
    """What the figures depend on."""
    asked = "import importlib.metadata as m; print(m.version('octavia'), m.version('gunicorn'))"
    octavia, gunicorn = _output(str(octavia_python), "-c", asked).split()
    with Path("/proc/meminfo").open() as lines:
        memory_kb = int(next(lines).split()[1])
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        "processors": os.cpu_count(),
        "memory": f"{memory_kb / 2**20:.0f} GiB",
        "haproxy": _output("haproxy", "-v").split()[2],
        "this agent": f"Python {platform.python_version()},"
        f" gunicorn {importlib.metadata.version('gunicorn')}",
        "upstream": f"octavia {octavia}, {_output(str(octavia_python), '-V').strip()},"
        f" gunicorn {gunicorn}",
    }


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
