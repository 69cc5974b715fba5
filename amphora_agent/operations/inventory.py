# SPDX-License-Identifier: Apache-2.0
"""What there is a configuration of."""

from amphora_agent.layout import is_object_id
from amphora_agent.operations.context import Context


def haproxy_ids(context: Context) -> list[str]:
    """Ids of what haproxy has a configuration for, in order."""
    configs = context.settings.base_path.glob("*/haproxy.cfg")
    return sorted(path.parent.name for path in configs if is_object_id(path.parent.name))


def lvs_ids(context: Context) -> list[str]:
    """Ids of the UDP and SCTP listeners that have a configuration, in order."""
    prefix = context.settings.layout.lvs_config("").stem
    found = context.settings.layout.lvs_dir.glob(f"{prefix}*.conf")
    ids = (path.stem.removeprefix(prefix) for path in found)
    return sorted(name for name in ids if is_object_id(name))
