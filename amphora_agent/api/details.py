# SPDX-License-Identifier: Apache-2.0
"""Versions and state of the amphora."""

from flask import Blueprint, Response

from amphora_agent.api.responses import reply
from amphora_agent.operations import details
from amphora_agent.operations.context import Context


def blueprint(context: Context, api_version: str) -> Blueprint:
    """Routes below the version."""
    routes = Blueprint("details", __name__)

    @routes.get("/info")
    def info() -> Response:
        return reply(200, **details.info(context, api_version))

    @routes.get("/details")
    def all_details() -> Response:
        return reply(200, **details.details(context, api_version))

    return routes
