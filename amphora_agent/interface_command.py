# SPDX-License-Identifier: Apache-2.0
"""amphora-interface: bring plugged interfaces up or down, for people and for units.

Exit status: 0 done, 1 wrong usage, 2 something failed; what did is on standard output, as
Octavia's own command has it.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from amphora_agent import layout, settings
from amphora_agent.errors import AgentError, ConfigError, NotFound
from amphora_agent.operations import interfaces
from amphora_agent.operations.context import Context
from amphora_agent.settings import Settings
from amphora_agent.system.services import Services, SystemdServices
from amphora_agent.wiring import build_context

_ALL = "all"
_BOOT_WAIT_S = 15.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stdout)
        print(f"{self.prog}: {message}")
        sys.exit(1)


def main(
    argv: Sequence[str] | None = None,
    *,
    services: Services | None = None,
) -> int:
    """Bring interfaces up or down; the exit status."""
    parser = _Parser(prog="amphora-interface", description="Bring plugged interfaces up or down.")
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("name", help=f"of an interface, as eth1, or `{_ALL}`")
    parser.add_argument("--config-file", type=Path, default=layout.AGENT_CONFIG)
    parser.add_argument("--netns", default=layout.NETNS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--wait", action="store_true", help="as at boot: wait for NICs that are not there yet"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        context = build_context(
            _settings(arguments.config_file),
            services=services or SystemdServices(),
            netns=arguments.netns,
            config_file=arguments.config_file,
        )
        return run(context, arguments.action, arguments.name, wait=arguments.wait)
    except AgentError as exc:
        print(f"amphora-interface: {exc}")
        return 2


def run(context: Context, action: str, name: str, *, wait: bool) -> int:
    """Bring one interface or all of them up or down; the exit status.

    With all, one that fails does not keep the others from their turn, and one whose NIC is not
    there is named but no failure: the agent is never told of a NIC that is detached for good.
    """
    operation = interfaces.up if action == "up" else interfaces.down
    if wait:
        interfaces.wait_for_nics(context, timeout_s=_BOOT_WAIT_S)
    failed = False
    for each in interfaces.names(context.settings.layout) if name == _ALL else [name]:
        try:
            changed = operation(context, each)
        except AgentError as exc:
            failed |= not (name == _ALL and isinstance(exc, NotFound))
            print(f"amphora-interface: {each}: {exc}")
        else:
            print(f"{each} is {action}{'' if changed else ' already'}")
    return 2 if failed else 0


def _settings(config_file: Path) -> Settings:
    """Those of the agent, of which only the paths matter here: plugs wrote down all the rest."""
    try:
        return settings.load(config_file)
    except ConfigError as exc:
        if config_file.exists():
            print(f"amphora-interface goes on with default paths: {exc}")
        return Settings(amphora_id="")


if __name__ == "__main__":
    sys.exit(main())
