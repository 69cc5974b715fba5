# SPDX-License-Identifier: Apache-2.0
"""The agent as in production, but with processes in place of systemd units."""

import argparse
from pathlib import Path

from amphora_agent import agent
from amphora_agent.settings import Settings
from amphora_agent.system.services import Services


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-file", type=Path, required=True)
    parser.add_argument("--netns", required=True)
    arguments = parser.parse_args()

    def services(settings: Settings) -> Services:
        from tests.support.services import ProcessServices

        return ProcessServices(settings.layout, arguments.netns, settings.haproxy_cmd)

    agent.run(arguments.config_file, services=services, netns=arguments.netns)


if __name__ == "__main__":
    main()
