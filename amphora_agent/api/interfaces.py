# SPDX-License-Identifier: Apache-2.0
"""Interfaces of the amphora's namespace."""

from flask import Blueprint, Response, request

from amphora_agent import validate
from amphora_agent.api.responses import ok, reply
from amphora_agent.operations import firewall, plug
from amphora_agent.operations.context import Context


def blueprint(context: Context) -> Blueprint:
    """Routes below the version."""
    routes = Blueprint("interfaces", __name__)

    @routes.get("/interface/<address>")
    def interface(address: str) -> Response:
        return reply(200, message="OK", interface=plug.interface_of(context, validate.ip(address)))

    @routes.put("/interface/<address>/rules")
    def rules(address: str) -> Response:
        plug.interface_of(context, validate.ip(address))
        firewall.store_and_load(context, validate.firewall_rules(request.get_data()))
        return ok(200)

    return routes
