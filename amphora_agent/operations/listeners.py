# SPDX-License-Identifier: Apache-2.0
"""What serves, whether haproxy or keepalived does it.

Controllers name an object by its id alone. For API 1.0 it is a load balancer or a UDP or SCTP
listener; for API 0.5, with one haproxy per listener, it is a listener.
"""

import logging

from amphora_agent import parse
from amphora_agent.errors import NotFound, ParseError
from amphora_agent.layout import haproxy_unit
from amphora_agent.models import Action, ListenerStatus
from amphora_agent.operations import inventory, loadbalancer, lvs
from amphora_agent.operations.context import Context

LOG = logging.getLogger(__name__)


def act(context: Context, object_id: str, action: Action) -> str:
    """Start, stop or reload what serves an object; returns what was done.

    Raises:
        NotFound: nothing was uploaded for it.
        AgentError: the service manager or the program failed; the details are their words.
    """
    if not loadbalancer.is_configured(context, object_id) and lvs.is_configured(context, object_id):
        return lvs.act(context, object_id, action)
    return loadbalancer.act(context, object_id, action)


def delete(context: Context, object_id: str) -> None:
    """Stop what serves an object and forget the object; an unknown one counts as deleted.

    Raises:
        AgentError: it did not stop; everything is still there.
    """
    if lvs.is_known(context, object_id):
        lvs.delete(context, object_id)
    else:
        loadbalancer.delete(context, object_id)


def statuses(context: Context) -> list[ListenerStatus]:
    """Every listener. Those of haproxy are always ACTIVE: what they do, heartbeats tell."""
    served = [
        ListenerStatus(uuid=frontend.name, status="ACTIVE", type=_type(frontend))
        for lb_id in inventory.haproxy_ids(context)
        for frontend in frontends(context, lb_id)
    ]
    return served + [lvs.status(context, name) for name in inventory.lvs_ids(context)]


def status(context: Context, listener_id: str) -> ListenerStatus:
    """One listener, for controllers that know API 0.5.

    Raises:
        NotFound: nothing was uploaded for it.
    """
    if lvs.is_configured(context, listener_id):
        return lvs.status(context, listener_id)
    if not loadbalancer.is_configured(context, listener_id):
        raise NotFound("Listener Not Found", f"no configuration was uploaded for {listener_id}")
    types = [_type(frontend) for frontend in frontends(context, listener_id)]
    is_active = context.services.is_active(haproxy_unit(listener_id))
    return ListenerStatus(
        uuid=listener_id,
        status="ACTIVE" if is_active else "OFFLINE",
        type=types[0] if types else "",
    )


def frontends(context: Context, lb_id: str) -> list[parse.Frontend]:
    """The frontends in a stored configuration; none, and a warning, if it cannot be read."""
    path = context.settings.layout.haproxy_config(lb_id)
    try:
        return parse.frontends(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ParseError) as exc:
        LOG.warning("The listeners of %s are not reported: %s", lb_id, exc)
        return []


def _type(frontend: parse.Frontend) -> str:
    return "TERMINATED_HTTPS" if frontend.terminates_tls else frontend.mode.upper()
