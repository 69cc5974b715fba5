# SPDX-License-Identifier: Apache-2.0
"""What an agent that was killed has left."""

from collections.abc import Iterator
from pathlib import Path

from amphora_agent.operations import transaction
from amphora_agent.operations.context import Context
from amphora_agent.system import files


def sweep(context: Context) -> None:
    """Remove files that were being written when the agent was killed; they may hold secrets.

    To be called before the first request. A change by API 2.0 is undone, or ended if it was done;
    everything else that a request can leave half done is completed by the same request, which the
    controller repeats.
    """
    transaction.recover(context)
    for directory in _directories(context):
        for path in directory.glob(".*"):
            if files.is_temporary(path):
                files.remove(path)


def _directories(context: Context) -> Iterator[Path]:
    settings = context.settings
    yield settings.agent_server_network_dir
    yield settings.agent_server_cert.parent
    yield settings.layout.check_scripts_dir
    yield settings.layout.udp_check.parent
    # Not `base_path` itself: the sender of heartbeats may be writing there at this moment.
    for parent in (settings.base_path, settings.base_cert_dir):
        if parent.is_dir():
            yield from (path for path in parent.iterdir() if path.is_dir())
