# SPDX-License-Identifier: Apache-2.0
"""Uploaded configurations: nothing takes effect before the program that reads it has seen it."""

from collections.abc import Callable
from pathlib import Path

from amphora_agent.errors import AgentError, InvalidRequest, Refused
from amphora_agent.layout import NETNS_UNIT
from amphora_agent.operations.context import Context
from amphora_agent.system import files


def store(config: Path, text: str, *, mode: int, prepare: Callable[[Path], None]) -> None:
    """Write a configuration beside the one in force, and put it in place once that can be done.

    One that does not get that far is kept beside, with the ending `.new-failed`, and the one before
    stays.

    Args:
        prepare: checks the new file, and does whatever has to be done before it is in force.

    Raises:
        InvalidRequest: `prepare` raised Refused; the details are the same.
    """
    new = config.with_name(f"{config.name}.new")
    files.make_directory(config.parent)
    files.write_atomic(new, text.encode(), mode=mode)
    try:
        prepare(new)
    except (AgentError, OSError) as exc:
        files.rename(new, config.with_name(f"{config.name}.new-failed"))
        if isinstance(exc, Refused):
            raise InvalidRequest("Invalid request", exc.details) from exc
        raise
    files.rename(new, config)


def check_keepalived(context: Context, new: Path) -> None:
    """Let keepalived read a configuration.

    Raises:
        Refused: keepalived finds faults; the details are its words.
    """
    # keepalived looks for the interfaces that its configuration names.
    if not context.network.namespace_exists():
        context.services.start(NETNS_UNIT)
    context.keepalived.check(new)
