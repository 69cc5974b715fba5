# SPDX-License-Identifier: Apache-2.0
"""VRRP of an amphora that is one of a pair."""

from flask import Blueprint, Response, request

from amphora_agent.api.requests import action as read_action
from amphora_agent.api.responses import ok
from amphora_agent.operations import vrrp
from amphora_agent.operations.context import Context


def blueprint(context: Context) -> Blueprint:
    """Routes below the version."""
    routes = Blueprint("vrrp", __name__)

    @routes.put("/vrrp/upload")
    def upload() -> Response:
        return ok(200, vrrp.upload(context, request.get_data()))

    @routes.put("/vrrp/<action>")
    def act(action: str) -> Response:
        return ok(202, details=vrrp.act(context, read_action(action)))

    return routes
