# SPDX-License-Identifier: Apache-2.0
"""API 2.0: load balancers as documents; JSON, and status codes that say what they mean.

Most amphorae are driven by API 1.0 alone. What 2.0 needs in memory is loaded with its first
request.
"""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response

from amphora_agent.api.v2.routes import PREFIX as PREFIX
from amphora_agent.api.v2.routes import ROUTES
from amphora_agent.operations.context import Context


def blueprint(context: Context) -> Blueprint:
    """The routes below the version."""
    routes = Blueprint("v2", __name__)
    for route in ROUTES:
        routes.add_url_rule(
            route.path,
            endpoint=route.operation,
            view_func=_view(context, route.operation),
            methods=[route.method],
        )
    return routes


def serves(path: str) -> bool:
    """Whether a path belongs to API 2.0, be there a route or not."""
    return f"{path}/".startswith(f"{PREFIX}/")


def answer_to(error: Exception) -> Response:
    """What a request is answered that an error has ended."""
    from amphora_agent.api.v2 import problems  # noqa: PLC0415  # see above

    return problems.answer(error)


def _view(context: Context, operation: str) -> Callable[..., Response]:
    def view(**parameters: Any) -> Response:
        from amphora_agent.api.v2 import views  # noqa: PLC0415  # see above

        return views.VIEWS[operation](context, **parameters)

    return view
