# SPDX-License-Identifier: Apache-2.0
"""What a haproxy says of itself, taken as an observation."""

import re

from amphora_agent.heartbeat.observation import Listener, Observation, Pool, Traffic
from amphora_agent.showstat import Backend, Frontend, Server, Snapshot

# Names of the controller's objects. Whatever else the configuration defines, such as the frontend
# and backend of the Prometheus exporter, is none of them: one listener too many in a message and
# the controller does not count it as a sign of life.
_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

_OBJECT_NAME = re.compile(_UUID)

_POOL_NAME = re.compile(f"{_UUID}:{_UUID}")


def haproxy_source(lb_id: str) -> str:
    """Name of the haproxy of one load balancer, as a source."""
    return f"haproxy:{lb_id}"


def haproxy_observation(lb_id: str, snapshot: Snapshot) -> Observation:
    """Take the controller's listeners, pools and members out of what haproxy says."""
    worker = snapshot.worker
    return Observation(
        source=haproxy_source(lb_id),
        worker=f"{worker.pid}@{worker.started_s}",
        listeners={
            frontend.name: _listener(frontend)
            for frontend in snapshot.frontends
            if is_object_id(frontend.name)
        },
        pools={
            backend.name: _pool(backend)
            for backend in snapshot.backends
            if _POOL_NAME.fullmatch(backend.name)
        },
    )


def is_object_id(name: str) -> bool:
    """Whether a name is an id of the controller (a UUID)."""
    return _OBJECT_NAME.fullmatch(name) is not None


def _listener(frontend: Frontend) -> Listener:
    return Listener(
        status=frontend.status,
        connections=frontend.sessions,
        totals=Traffic(
            bin=frontend.bytes_in,
            bout=frontend.bytes_out,
            ereq=frontend.request_errors,
            stot=frontend.sessions_total,
        ),
    )


def _pool(backend: Backend) -> Pool:
    return Pool(
        status=backend.status,
        members={
            server.name: _member_status(server)
            for server in backend.servers
            if is_object_id(server.name)
        },
    )


def _member_status(server: Server) -> str:
    # Weight 0 is how Octavia drains a member; haproxy goes on calling it UP.
    if server.status == "UP" and server.weight == 0:
        return "DRAIN"
    # haproxy adds a reason, as in "MAINT (resolution)"; the controller knows the bare words only.
    word, _, _ = server.status.partition(" (")
    return word if word in {"DRAIN", "MAINT"} else server.status
