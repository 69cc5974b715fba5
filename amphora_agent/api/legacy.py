# SPDX-License-Identifier: Apache-2.0
"""What only API 0.5 has."""

from dataclasses import asdict
from uuid import UUID

from flask import Blueprint, Response

from amphora_agent.api.responses import reply
from amphora_agent.operations import listeners
from amphora_agent.operations.context import Context


def blueprint(context: Context) -> Blueprint:
    """Routes below the version."""
    routes = Blueprint("legacy", __name__)

    @routes.get("/listeners/<uuid:listener_id>")
    def status(listener_id: UUID) -> Response:
        return reply(200, **asdict(listeners.status(context, str(listener_id))))

    return routes
