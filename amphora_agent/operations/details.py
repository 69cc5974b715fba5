# SPDX-License-Identifier: Apache-2.0
"""What the amphora tells of itself."""

import logging
from collections.abc import Iterable
from typing import Any

from amphora_agent.errors import AgentError
from amphora_agent.layout import haproxy_unit, lvs_unit
from amphora_agent.operations import inventory, listeners
from amphora_agent.operations.context import Context

LOG = logging.getLogger(__name__)

API_VERSION = "1.0"


def info(context: Context, api_version: str = API_VERSION) -> dict[str, Any]:
    """Versions; the controller renders for the haproxy version that stands here."""
    versions = context.host.versions()
    return {
        "hostname": context.host.hostname(),
        "haproxy_version": versions.haproxy,
        "api_version": api_version,
        "keepalived_version": versions.keepalived,
        "ipvsadm_version": versions.ipvsadm,
    }


def details(context: Context, api_version: str = API_VERSION) -> dict[str, Any]:
    """State of the machine and its load balancers; memory in kB.

    The controller asks before every update, so an odd configuration of one load balancer is left
    out rather than an error.
    """
    host = context.host
    memory = host.memory()
    cpu = host.cpu()
    used, available = host.disk()
    haproxy_ids = inventory.haproxy_ids(context)
    lvs_ids = inventory.lvs_ids(context)
    frontends = [f.name for lb_id in haproxy_ids for f in listeners.frontends(context, lb_id)]
    return {
        **info(context, api_version),
        "active": True,
        "active_tuned_profiles": host.tuned_profiles(),
        "cpu_count": cpu.count,
        "cpu": {
            "total": cpu.total,
            "user": str(cpu.user),
            "system": str(cpu.system),
            "soft_irq": str(cpu.soft_irq),
        },
        "memory": {
            "total": memory.total,
            "free": memory.free,
            "buffers": memory.buffers,
            "cached": memory.cached,
            "swap_used": memory.swap_used,
            "shared": memory.shared,
            "slab": memory.slab,
        },
        "disk": {"used": used, "available": available},
        "load": [f"{average:.2f}" for average in host.load()],
        "networks": {
            name: {"network_tx": counters.tx, "network_rx": counters.rx}
            for name, counters in host.traffic().items()
        },
        "haproxy_count": _active(context, map(haproxy_unit, haproxy_ids)),
        "lvs_listener_process_count": _active(context, map(lvs_unit, lvs_ids)),
        "listeners": sorted({*frontends, *lvs_ids}),
        "topology": context.settings.topology,
        "topology_status": "OK",
        "packages": {},
    }


def _active(context: Context, units: Iterable[str]) -> int:
    try:
        return sum(context.services.is_active(unit) for unit in units)
    except AgentError as exc:
        LOG.warning("Running services are not counted: %s", exc)
        return 0
