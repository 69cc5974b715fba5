# SPDX-License-Identifier: Apache-2.0
"""What the agent's own metrics have to know of the API."""

from flask import Flask, Response, request

from amphora_agent.operations.context import Context
from amphora_agent.operations.counters import Event

# Any client can make up others, and each would be remembered.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


def count_requests(app: Flask, context: Context) -> None:
    """Count every answer of the application, those of its error handlers too."""

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else ""
        method = request.method if request.method in _METHODS else "other"
        context.counters.add(Event.REQUEST, route, method, str(response.status_code))
        return response
