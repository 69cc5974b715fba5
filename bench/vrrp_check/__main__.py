# SPDX-License-Identifier: Apache-2.0
"""What a minute of VRRP checks costs, ours and upstream's side by side; as root.

Both ask the same real haproxy, in turns. All is what an amphora of a pair with one load balancer
runs: keepalived's track script, the generated script, the program that asks haproxy. Upstream's
track script is rendered from the template in its own package.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2

from amphora_agent import render
from amphora_agent.layout import Layout
from bench.agent import haproxy_config
from bench.vrrp_check import report
from tests.support.netns import namespace

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = REPOSITORY / "elements/amphora-agent/static/usr/local/bin"
LISTENERS = (1, 100)
_DEADLINE_S = 30.0
_POLL_S = 0.02


def main() -> int:
    """Run the benchmark; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.vrrp_check", description=__doc__)
    parser.add_argument(
        "--octavia-python",
        type=Path,
        default=os.environ.get("AMPHORA_OCTAVIA_PYTHON"),
        help="interpreter of a virtual environment with octavia==19.0.0",
    )
    parser.add_argument("--runs", type=int, default=100, help="of each check (default: 100)")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    arguments = parser.parse_args()
    if arguments.octavia_python is None:
        parser.error("--octavia-python is missing")
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    prefix = Path(arguments.octavia_python).absolute().parents[1]
    load_before = os.getloadavg()[0]
    found = {str(listeners): measure(listeners, prefix, arguments.runs) for listeners in LISTENERS}
    facts = machine(arguments.octavia_python) | {
        "load average": f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after",
        "runs": arguments.runs,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": facts, "checks": found}, indent=1) + "\n")
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()), end="\n\n")
    print(report.markdown(found), end="")
    return 0


def measure(listeners: int, prefix: Path, runs: int) -> report.Checks:
    """Both checks of one haproxy, in turns."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        base = Path(directory)
        # haproxy's workers run as nobody.
        base.chmod(0o755)
        with haproxy(base, listeners) as socket:
            checks = {
                "ours": our_check(base, socket),
                "upstream": their_check(base, socket, prefix),
            }
            found: report.Checks = {name: [] for name in checks}
            # The first run of each fills the page cache and writes byte code; it does not count.
            for number in range(runs + 1):
                for name, (script, path) in checks.items():
                    taken = one_run(script, path)
                    if number:
                        found[name].append(taken)
            print(f"{listeners} listeners: {runs} runs of each", file=sys.stderr)
    return found


@contextmanager
def haproxy(base: Path, listeners: int) -> Iterator[Path]:
    """A real haproxy in a namespace without a way out; its stats socket."""
    lb_id = str(uuid.uuid4())
    socket = Layout(base=base).stats_socket(lb_id)
    config = haproxy_config.load_balancer(str(base), lb_id, listeners=listeners, revision=1)
    # A namespace has loopback only, and a shell's limit of open files is no amphora's.
    config = config.replace(b"198.51.100.10", b"127.0.0.1").replace(b"maxconn 50000", b"maxconn 50")
    file = base / "haproxy.cfg"
    file.write_bytes(config)
    with namespace("bench") as inside:
        process = subprocess.Popen(
            inside.command("haproxy", "-db", "-W", "-f", str(file)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline_s = time.monotonic() + _DEADLINE_S
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise SystemExit("haproxy does not start; `haproxy -c` on its file says why")
                time.sleep(_POLL_S)
            yield socket
        finally:
            process.terminate()
            process.wait(timeout=_DEADLINE_S)


def our_check(base: Path, socket: Path) -> tuple[Path, str]:
    """The scripts that the agent writes; the track script, and the directories of its programs."""
    layout = Layout(base=base / "ours")
    layout.check_scripts_dir.mkdir(parents=True)
    layout.haproxy_check_script.write_text(render.haproxy_check_script([str(socket)]))
    layout.check_script.write_text(render.check_script(layout.check_scripts_dir))
    layout.check_script.chmod(0o755)
    return layout.check_script, str(PROGRAMS)


def their_check(base: Path, socket: Path, prefix: Path) -> tuple[Path, str]:
    """The same of upstream's agent."""
    layout = Layout(base=base / "upstream")
    layout.check_scripts_dir.mkdir(parents=True)
    layout.haproxy_check_script.write_text(f"haproxy-vrrp-check {socket}; exit $?")
    [template] = prefix.glob(
        "lib/python3*/site-packages/octavia/amphorae/backends/agent/api_server/templates/"
        "keepalived_check_script.conf.j2"
    )
    text = jinja2.Template(template.read_text(), autoescape=True)
    layout.check_script.write_text(text.render(check_scripts_dir=layout.check_scripts_dir))
    layout.check_script.chmod(0o755)
    return layout.check_script, str(prefix / "bin")


def one_run(script: Path, path: str) -> report.Run:
    """Run a check as keepalived does."""
    begin = time.monotonic()
    pid = os.posix_spawn(
        script,
        [str(script)],
        {"PATH": f"{path}:/usr/sbin:/usr/bin:/sbin:/bin"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ],
    )
    # What its children used that it has waited for comes with it: all of them.
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise SystemExit(f"{script} ended with {os.waitstatus_to_exitcode(status)}")
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "wall_s": time.monotonic() - begin}


def machine(octavia_python: Path) -> dict[str, Any]:
    """What the figures depend on."""
    asked = (
        "import importlib.metadata as m, sys; print(m.version('octavia'), *sys.version_info[:3])"
    )
    octavia, *python = _output(str(octavia_python), "-c", asked).split()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        "processors": os.cpu_count(),
        "haproxy": _output("haproxy", "-v").split()[2],
        "shell": Path("/bin/sh").resolve().name,
        "upstream": f"octavia {octavia}, Python {'.'.join(python)}",
    }


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
