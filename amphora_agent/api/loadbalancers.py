# SPDX-License-Identifier: Apache-2.0
"""What serves a load balancer: haproxy's configuration, and start, stop and reload."""

from uuid import UUID

from flask import Blueprint, Response, request

from amphora_agent.api.requests import action as read_action
from amphora_agent.api.responses import ok, text
from amphora_agent.operations import listeners, loadbalancer
from amphora_agent.operations.context import Context
from amphora_agent.operations.digest import md5sum


def blueprint(context: Context, owner: str) -> Blueprint:
    """Routes below the version.

    Args:
        owner: the word in the path before the id, which depends on the version: there is one
            haproxy for each of them.
    """
    routes = Blueprint("loadbalancers", __name__)

    # Not a UUID converter: the peer name is a hash of the id letter by letter.
    @routes.put(f"/{owner}/<amphora_id>/<uuid:owner_id>/haproxy")
    def upload(amphora_id: str, owner_id: UUID) -> Response:
        content = request.get_data()
        return ok(202, loadbalancer.upload(context, amphora_id, str(owner_id), content))

    @routes.get(f"/{owner}/<uuid:owner_id>/haproxy")
    def config(owner_id: UUID) -> Response:
        content = loadbalancer.config(context, str(owner_id))
        return text(content, md5sum(content))

    @routes.put(f"/{owner}/<uuid:object_id>/<action>")
    def act(object_id: UUID, action: str) -> Response:
        done = listeners.act(context, str(object_id), read_action(action))
        return ok(202, details=done)

    return routes
