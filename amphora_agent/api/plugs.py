# SPDX-License-Identifier: Apache-2.0
"""Plugging of NICs."""

from flask import Blueprint, Response, request

from amphora_agent import validate
from amphora_agent.api.repeats import Running
from amphora_agent.api.responses import ok
from amphora_agent.operations import plug
from amphora_agent.operations.context import Context


def blueprint(context: Context) -> Blueprint:
    """Routes below the version."""
    routes = Blueprint("plugs", __name__)
    running = Running()

    @routes.post("/plug/vip/<address>")
    def vip(address: str) -> Response:
        wanted = validate.plug_vip(address, request.get_data())
        with running.enter(wanted) as repeated:
            return ok(202, details=plug.vip(context, wanted, repeated=repeated))

    @routes.post("/plug/network")
    def network() -> Response:
        return ok(202, details=plug.network(context, validate.plug_network(request.get_data())))

    return routes
