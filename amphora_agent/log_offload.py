# SPDX-License-Identifier: Apache-2.0
"""Prepares the log offload that the controller asks for, each time before rsyslog starts.

rsyslog does not read the controller's file itself but what is written here: the file with its known
faults repaired, or nothing of it when rsyslog would not take it. So a faulty file costs the
offload, and never rsyslog, through which haproxy logs. What was done is told on the console, in the
journal and in a file for the agent.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from amphora_agent import layout, offload, settings
from amphora_agent.errors import AgentError, ConfigError
from amphora_agent.offload import Repaired
from amphora_agent.system import files, rsyslog

_NO_OFFLOAD = "# No log offload: {}\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare the files below --run; always 0, because rsyslog is to start in any case."""
    parser = argparse.ArgumentParser(prog="amphora-log-offload", description=__doc__)
    parser.add_argument("--source", type=Path, default=layout.LOG_OFFLOAD_SOURCE)
    parser.add_argument("--run", type=Path, default=layout.RUN_DIR)
    parser.add_argument("--rsyslog-config", type=Path, default=rsyslog.CONFIG)
    parser.add_argument("--agent-config", type=Path, default=layout.AGENT_CONFIG)
    arguments = parser.parse_args(argv)
    run: Path = arguments.run
    files.make_directory(run)
    state, told = prepare(
        arguments.source, run / layout.LOG_OFFLOAD.name, config=arguments.rsyslog_config
    )
    for line in told:
        print(f"log offload: {line}", file=sys.stderr)
    report = json.dumps({"state": state, "messages": told}) + "\n"
    files.write_atomic(run / layout.LOG_OFFLOAD_STATE.name, report.encode(), mode=0o644)
    environment = f"LOG_FACILITY={_facility(arguments.agent_config)}\n"
    files.write_atomic(run / layout.LOG_ENVIRONMENT.name, environment.encode(), mode=0o644)
    return 0


def prepare(source: Path, target: Path, *, config: Path) -> tuple[str, list[str]]:
    """Write the file that rsyslog reads.

    Args:
        config: rsyslog's, which includes `target`.

    Returns:
        `off`, `on` or `set aside`; and what is to be told.
    """
    try:
        found = _repaired(source)
    except AgentError as exc:
        files.write_atomic(target, _NO_OFFLOAD.format(exc.message).encode(), mode=0o600)
        return "set aside", [f"error: {exc}; logs stay in the amphora"]
    files.write_atomic(target, found.text.encode(), mode=0o600)
    if not found.text.strip():
        return "off", []
    told = [f"repaired {source}: {repair}" for repair in found.repairs]
    try:
        rsyslog.check(config)
    except AgentError as exc:
        files.write_atomic(target, _NO_OFFLOAD.format("see the journal").encode(), mode=0o600)
        fault = f"error: {source} is set aside: {exc}; logs stay in the amphora until the"
        return "set aside", [*told, f"{fault} controller's octavia.conf is right and it fails over"]
    return "on", told


def _repaired(source: Path) -> Repaired:
    try:
        return offload.repaired(source.read_text())
    except FileNotFoundError:
        return Repaired(text="", repairs=())
    except (OSError, UnicodeDecodeError) as exc:
        raise AgentError(f"{source} cannot be read", str(exc)) from exc


def _facility(config: Path) -> int:
    """The facility of what is not tenants' traffic; the selectors of the file name it."""
    try:
        return settings.load(config).administrative_log_facility
    except ConfigError:
        # The agent, which waits for the file, tells of that.
        return settings.Settings(amphora_id="").administrative_log_facility


if __name__ == "__main__":
    sys.exit(main())
