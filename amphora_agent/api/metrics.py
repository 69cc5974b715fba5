# SPDX-License-Identifier: Apache-2.0
"""The agent's own metrics, for a Prometheus server of the operator."""

from flask import Blueprint, Flask, Response, request

from amphora_agent.api.responses import text
from amphora_agent.operations.context import Context
from amphora_agent.operations.counters import Event

# Any client can make up others, and each would be remembered.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


def blueprint(context: Context) -> Blueprint:
    """Routes below the version."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def all_metrics() -> Response:
        # Most agents are never asked.
        from amphora_agent.metrics import CONTENT_TYPE  # noqa: PLC0415
        from amphora_agent.operations import metrics  # noqa: PLC0415

        return text(metrics.exposition(context).encode(), content_type=CONTENT_TYPE)

    return routes


def count_requests(app: Flask, context: Context) -> None:
    """Count every answer of the application, those of its error handlers too."""

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else ""
        method = request.method if request.method in _METHODS else "other"
        context.counters.add(Event.REQUEST, route, method, str(response.status_code))
        return response
