# SPDX-License-Identifier: Apache-2.0
"""One agent, started once, measured once; to be run in namespaces of its own."""

import json
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from bench.agent import measure, sandbox

LISTENERS = (1, 100, 1000)
_INFO_NEW = 100
_INFO_KEPT = 200
_UPLOADS = 5
# Until the processes that are started in the background have come up, too.
_SETTLE_S = 3.0

_REPOSITORY = Path(__file__).resolve().parents[2]
_UNITS = _REPOSITORY / "elements/amphora-agent/static/usr/lib/systemd/system"


def service(unit: str, module: str) -> tuple[str, ...]:
    """A service as its unit starts it: the unit's environment, the script of the entry point."""
    lines = (_UNITS / unit).read_text().splitlines()
    variables = [line.partition("=")[2] for line in lines if line.startswith("Environment=")]
    script = f"import sys; from amphora_agent.{module} import main; sys.exit(main())"
    return ("/usr/bin/env", *variables, "bin/python", "-c", script)


# The two services of the image; upstream's agent starts its heartbeat sender itself.
SERVICES = {
    "ours": (
        service("amphora-agent.service", "agent"),
        service("amphora-heartbeat.service", "heartbeat_sender"),
    ),
    "upstream": (("bin/python", "bin/amphora-agent"),),
}


def run(agent: str, prefix: Path, log: Path) -> dict[str, Any]:
    """Measure one agent.

    Args:
        agent: one of SERVICES.
        prefix: the virtual environment with upstream's agent.
    """
    with tempfile.TemporaryDirectory(prefix="bench-agent-") as directory:
        Path(directory).chmod(0o755)
        box = sandbox.prepare(Path(directory))
        if agent == "ours":
            prefix = installed(sandbox.FILES / "python")
        commands = [
            [
                *(str(prefix / word) if word.startswith("bin/") else word for word in command),
                *("--config-file", str(box.config_file)),
            ]
            for command in SERVICES[agent]
        ]
        with measure.running(commands, box, log) as (processes, start_s):
            time.sleep(_SETTLE_S)
            new = measure.info_new(box, _INFO_NEW)
            kept, connects = measure.info_kept(box, _INFO_KEPT)
            sizes = measure.proportional_set_size(processes)
            result: dict[str, Any] = {
                "start_s": start_s,
                "processes": len(sizes),
                "pss_bytes": sum(sizes.values()),
                "pss_by_process_bytes": sizes,
                "info_new_s": new,
                "info_kept_s": kept,
                "info_kept_connects": connects,
                "upload_s": {},
                "haproxy_check_s": {},
            }
            for listeners in LISTENERS:
                taken, plain = measure.uploads(box, listeners, _UPLOADS)
                result["upload_s"][str(listeners)] = taken
                result["haproxy_check_s"][str(listeners)] = plain
            measure.use(box)
            sizes = measure.proportional_set_size(processes)
            result["pss_in_use_bytes"] = sum(sizes.values())
        return result


def installed(prefix: Path) -> Path:
    """Make an environment in which this repository's agent is installed, and nothing else starts.

    An editable installation would put another repository's agent in its place, and runs code at
    each start of the interpreter that no image has.
    """
    venv.create(prefix, symlinks=True)
    places = {str(_REPOSITORY), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    target = sysconfig.get_path("purelib", "venv", {"base": str(prefix), "platbase": str(prefix)})
    (Path(target) / "bench.pth").write_text("\n".join(sorted(places)) + "\n")
    return prefix


if __name__ == "__main__":
    _, name, environment, log_file = sys.argv
    json.dump(run(name, Path(environment), Path(log_file)), sys.stdout)
