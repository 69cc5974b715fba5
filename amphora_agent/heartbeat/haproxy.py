# SPDX-License-Identifier: Apache-2.0
"""What a haproxy says of itself, taken as an observation."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from amphora_agent.heartbeat.observation import Counters, Listener, Observation, Pool, Traffic
from amphora_agent.showstat import Backend, Frontend, Snapshot, Worker

# Names of the controller's objects. Whatever else the configuration defines, such as the frontend
# and backend of the Prometheus exporter, is none of them: one listener too many in a message and
# the controller does not count it as a sign of life.
_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_OBJECT_NAME = re.compile(_UUID)
_AS_THEY_ARE = frozenset({"DOWN", "DRAIN", "MAINT", "no check"})
_POOL_NAME = re.compile(f"(?P<pool>{_UUID})(?::(?P<listener>{_UUID}))?")


def haproxy_source(lb_id: str) -> str:
    """Name of the haproxy of one load balancer, as a source."""
    return f"haproxy:{lb_id}"


def haproxy_observation(lb_id: str, snapshot: Snapshot) -> Observation:
    """Take the controller's listeners, pools and members out of what the current worker says.

    With API 0.5 the load balancer's id is that of its only listener, and backends are named by
    their pool alone.
    """
    listeners = {
        frontend.name: Listener(status=frontend.status, connections=frontend.sessions)
        for frontend in snapshot.frontends
        if is_object_id(frontend.name)
    }
    pools = {}
    for backend in snapshot.backends:
        name = _POOL_NAME.fullmatch(backend.name)
        if name is not None and (name["listener"] or lb_id in listeners):
            listener_id = name["listener"] or lb_id
            pools[f"{name['pool']}:{listener_id}"] = _pool(backend, name["pool"], listener_id)
    return Observation(
        source=haproxy_source(lb_id),
        counters={worker_name(snapshot.worker): _counters(snapshot.frontends)},
        listeners=listeners,
        pools=pools,
        is_per_listener=lb_id in listeners,
    )


def with_old_workers(
    observation: Observation, snapshots: Iterable[Snapshot], *, silent: Collection[str]
) -> Observation:
    """Add what workers count that were replaced, and still serve the connections they have.

    Args:
        snapshots: one of each old worker.
        silent: names of those that exist, but could not be asked.
    """
    counters: dict[str, Counters] = dict(observation.counters)
    listeners: dict[str, Listener] = dict(observation.listeners)
    for snapshot in snapshots:
        counters[worker_name(snapshot.worker)] = _counters(snapshot.frontends)
        for frontend in snapshot.frontends:
            now = listeners.get(frontend.name)
            if now is not None:
                listeners[frontend.name] = replace(
                    now, connections=now.connections + frontend.sessions
                )
    return replace(
        observation,
        counters=counters,
        listeners=listeners,
        silent=frozenset(silent) - counters.keys(),
    )


def worker_name(worker: Worker) -> str:
    """A name that no other process of this machine has or had, however often it is booted."""
    return f"{worker.pid}@{worker.started_s}"


def names_of(names: Iterable[str], pids: Collection[int]) -> frozenset[str]:
    """Those names of workers whose process ids are among `pids`."""
    wanted = {str(pid) for pid in pids}
    return frozenset(name for name in names if name.partition("@")[0] in wanted)


def is_object_id(name: str) -> bool:
    """Whether a name is an id of the controller (a UUID)."""
    return _OBJECT_NAME.fullmatch(name) is not None


def _counters(frontends: Iterable[Frontend]) -> Mapping[str, Traffic]:
    return {
        frontend.name: Traffic(
            bin=frontend.bytes_in,
            bout=frontend.bytes_out,
            ereq=frontend.request_errors,
            stot=frontend.sessions_total,
        )
        for frontend in frontends
        if is_object_id(frontend.name)
    }


def _pool(backend: Backend, pool_id: str, listener_id: str) -> Pool:
    return Pool(
        pool_id=pool_id,
        listener_id=listener_id,
        status=backend.status,
        members={
            name: status if status in _AS_THEY_ARE else _member_status(status, weight)
            for name, status, weight in backend.servers
            if _OBJECT_NAME.fullmatch(name)
        },
    )


def _member_status(status: str, weight: int) -> str:
    # Weight 0 is how Octavia drains a member; haproxy goes on calling it UP.
    if status == "UP":
        return status if weight else "DRAIN"
    # haproxy adds a reason, as in "MAINT (resolution)"; the controller knows the bare words only.
    word, _, _ = status.partition(" (")
    return word if word in {"DRAIN", "MAINT"} else status
