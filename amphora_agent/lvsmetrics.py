# SPDX-License-Identifier: Apache-2.0
"""Metrics of UDP and SCTP listeners under the names that haproxy's have; pure.

Octavia's own amphora has none. The values are what IPVS counts for each VIP's address, and there
for each member.
"""

from collections.abc import Iterable, Iterator, Mapping

from amphora_agent.heartbeat.lvs import Table, lvs_observation
from amphora_agent.heartbeat.observation import total
from amphora_agent.lvsconf import LvsConfig

# haproxy's words for the states of a server, by those of heartbeats.
_MEMBER_STATES = ("DOWN", "UP", "MAINT", "DRAIN", "NOLB")
_STATE_OF = {"no check": "UP"}
_STATES = ("DOWN", "UP")


def samples(configs: Mapping[str, LvsConfig], table: Table) -> dict[bytes, bytes]:
    """Lines by the name of their metric.

    Args:
        configs: by listener id; disabled listeners have no metrics.
        table: what IPVS balances.
    """
    lines: dict[bytes, list[bytes]] = {}
    for listener_id, config in configs.items():
        if config.is_disabled:
            continue
        for name, labels, value in _samples(listener_id, config, table):
            shown = ",".join(f'{label}="{text}"' for label, text in labels.items())
            lines.setdefault(name.encode(), []).append(f"{name}{{{shown}}} {value}\n".encode())
    return {name: b"".join(each) for name, each in lines.items()}


_Sample = tuple[str, dict[str, str], int]


def _samples(listener_id: str, config: LvsConfig, table: Table) -> Iterator[_Sample]:
    found = lvs_observation(listener_id, config, table, boot="", is_restarting=False)
    traffic = total(found.counters.values())[listener_id] if found.counters else None
    connections = found.listeners[listener_id].connections
    owners: list[tuple[str, dict[str, str], str]] = [
        ("octavia_listener", {"listener": listener_id}, "UP")
    ]
    for pool in found.pools.values():
        # As haproxy's pools are called.
        labels = {"pool": f"{pool.pool_id}:{listener_id}"}
        owners.append(("octavia_pool", labels, pool.status))
        yield from _members(labels, config, table, pool.members)
    for name, labels, status in owners:
        yield from _states(name, labels, status, _STATES)
        yield f"{name}_current_sessions", labels, connections
        if traffic:
            yield f"{name}_sessions_total", labels, traffic.stot
            yield f"{name}_bytes_in_total", labels, traffic.bin
            yield f"{name}_bytes_out_total", labels, traffic.bout


def _members(
    pool: dict[str, str], config: LvsConfig, table: Table, statuses: Mapping[str, str]
) -> Iterator[_Sample]:
    own = [
        item
        for service, items in table
        if (service.protocol, service.endpoint) in config.services
        for item in items
    ]
    yield "octavia_pool_active_members", pool, len({i.endpoint for i in own if i.weight > 0})
    for member in config.members:
        labels = {**pool, "member": member.id}
        yield from _states("octavia_member", labels, statuses[member.id], _MEMBER_STATES)
        here = [item for item in own if item.endpoint == member.endpoint]
        yield "octavia_member_weight", labels, here[0].weight if here else 0
        yield "octavia_member_current_sessions", labels, sum(item.active for item in here)
        if here:
            yield "octavia_member_sessions_total", labels, sum(item.connections for item in here)
            yield "octavia_member_bytes_in_total", labels, sum(item.bytes_in for item in here)
            yield "octavia_member_bytes_out_total", labels, sum(item.bytes_out for item in here)


def _states(
    name: str, labels: dict[str, str], status: str, states: Iterable[str]
) -> Iterator[_Sample]:
    now = _STATE_OF.get(status, status)
    for state in states:
        yield f"{name}_status", {**labels, "state": state}, int(state == now)
