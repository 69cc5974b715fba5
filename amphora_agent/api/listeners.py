# SPDX-License-Identifier: Apache-2.0
"""Listeners of all kinds, and the configurations of UDP and SCTP ones."""

from uuid import UUID

from flask import Blueprint, Response, request

from amphora_agent.api.responses import array, ok, text
from amphora_agent.operations import listeners, lvs
from amphora_agent.operations.context import Context


def blueprint(context: Context) -> Blueprint:
    """Routes below the version."""
    routes = Blueprint("listeners", __name__)

    @routes.get("/listeners")
    def statuses() -> Response:
        return array(listeners.statuses(context))

    # The id of a load balancer, or of a listener that has a process of its own.
    @routes.delete("/listeners/<uuid:object_id>")
    def delete(object_id: UUID) -> Response:
        listeners.delete(context, str(object_id))
        return ok(200)

    @routes.put("/listeners/<_amphora_id>/<uuid:listener_id>/udp_listener")
    def upload(_amphora_id: str, listener_id: UUID) -> Response:
        return ok(200, lvs.upload(context, str(listener_id), request.get_data()))

    @routes.get("/listeners/<uuid:listener_id>/udp_listener")
    def config(listener_id: UUID) -> Response:
        return text(lvs.config(context, str(listener_id)))

    return routes
