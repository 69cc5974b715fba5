# SPDX-License-Identifier: Apache-2.0
"""One agent, started once, measured once; to be run in namespaces of its own."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.agent import measure, sandbox

LISTENERS = (1, 100, 1000)
_INFO_NEW = 100
_INFO_KEPT = 200
_UPLOADS = 5
# Until the processes that are started in the background have come up, too.
_SETTLE_S = 3.0

# As the script that an installation makes for an entry point.
_SCRIPT = "import sys; from amphora_agent.{} import main; sys.exit(main())"
# The two services of the image; upstream's agent starts its heartbeat sender itself.
SERVICES = {
    "ours": (
        (sys.executable, "-c", _SCRIPT.format("agent")),
        (sys.executable, "-c", _SCRIPT.format("heartbeat_sender")),
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
            sizes = measure.proportional_set_size(processes)
            result["pss_after_uploads_bytes"] = sum(sizes.values())
        return result


if __name__ == "__main__":
    _, name, environment, log_file = sys.argv
    json.dump(run(name, Path(environment), Path(log_file)), sys.stdout)
