# SPDX-License-Identifier: Apache-2.0
"""The agent's own certificate and configuration."""

from flask import Blueprint, Response, request

from amphora_agent.api.responses import ok
from amphora_agent.operations import configuration, server_certificate
from amphora_agent.operations.context import Context


def blueprint(context: Context) -> Blueprint:
    """Routes below the version."""
    routes = Blueprint("maintenance", __name__)

    @routes.put("/certificate")
    def certificate() -> Response:
        server_certificate.upload(context, request.get_data())
        return ok(202)

    @routes.put("/config")
    def config() -> Response:
        configuration.upload(context, request.get_data())
        return ok(202)

    return routes
