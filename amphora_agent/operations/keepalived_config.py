# SPDX-License-Identifier: Apache-2.0
"""Configurations of keepalived, for VRRP and for UDP and SCTP listeners."""

from pathlib import Path

from amphora_agent import validate
from amphora_agent.errors import InvalidRequest, Refused
from amphora_agent.layout import NETNS_UNIT
from amphora_agent.operations.context import Context
from amphora_agent.system import files


def store(context: Context, config: Path, content: bytes) -> None:
    """Check a configuration and put it in place, byte for byte.

    A configuration that keepalived refuses is kept beside, with the ending `.new-failed`, and the
    one before stays.

    Raises:
        InvalidRequest: it is not UTF-8, or keepalived refuses it; the details are its words.
    """
    validate.utf8(content, config.name)
    new = config.with_name(f"{config.name}.new")
    files.make_directory(config.parent)
    # keepalived looks for the interfaces that its configuration names.
    if not context.network.namespace_exists():
        context.services.start(NETNS_UNIT)
    files.write_atomic(new, content, mode=0o644)
    try:
        context.keepalived.check(new)
    except Refused as exc:
        files.rename(new, config.with_name(f"{config.name}.new-failed"))
        raise InvalidRequest("Invalid request", exc.details) from exc
    files.rename(new, config)
