# SPDX-License-Identifier: Apache-2.0
"""The REST API: bytes and JSON in and out, no decision.

Octavia's controllers ask `GET //` for the version and expect JSON in every answer; a 404 that is
not JSON makes them ask again for ten minutes.

Versions 0.5 and 1.0 are served side by side, and 2.0 beside them (see v2). In 0.5, which
controllers before Train speak, there is one haproxy for each listener, so that paths name listeners
where 1.0 names load balancers; the rest is the same.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from flask import Blueprint, Flask, Request, Response, request
from werkzeug.exceptions import HTTPException, InternalServerError, RequestEntityTooLarge

from amphora_agent.api import (
    certificates,
    details,
    interfaces,
    legacy,
    listeners,
    loadbalancers,
    maintenance,
    metrics,
    plugs,
    request_fields,
    v2,
    vrrp,
)
from amphora_agent.api.responses import reply
from amphora_agent.errors import AgentError, MalformedRequest
from amphora_agent.operations.context import Context
from amphora_agent.operations.details import API_VERSION

E = TypeVar("E", bound=Exception)

LOG = logging.getLogger(__name__)

LEGACY_API_VERSION = "0.5"

# Large enough for several thousand listeners.
BODY_MAX_BYTES = 16 * 1024 * 1024

# Controllers take a code that they do not know, such as 413, as success.
_KNOWN_CODES = frozenset({400, 401, 403, 404, 405, 409, 500, 503})


def create_app(context: Context, *, body_max_bytes: int = BODY_MAX_BYTES) -> Flask:
    """The WSGI application of one agent."""
    app = Flask("amphora_agent", static_folder=None)
    app.request_class = _request_class(body_max_bytes)
    app.before_request(_refuse_large_body)
    # Otherwise `//` would be redirected to `/`.
    app.url_map.merge_slashes = False
    for path in ("/", "//"):
        app.add_url_rule(
            path, endpoint=f"version{path}", view_func=lambda: reply(200, api_version=API_VERSION)
        )
    both = [module.blueprint(context) for module in (interfaces, listeners, maintenance, plugs)]
    both.append(vrrp.blueprint(context))
    _register(
        app,
        API_VERSION,
        *both,
        certificates.blueprint(context, "loadbalancer"),
        details.blueprint(context, API_VERSION),
        loadbalancers.blueprint(context, "loadbalancer"),
    )
    _register(
        app,
        LEGACY_API_VERSION,
        *both,
        certificates.blueprint(context, "listeners"),
        details.blueprint(context, LEGACY_API_VERSION),
        legacy.blueprint(context),
        loadbalancers.blueprint(context, "listeners"),
    )
    metrics.count_requests(app, context)
    # Flask's own way to put something around an application.
    app.wsgi_app = request_fields.marked(app.wsgi_app)  # type: ignore[assignment,method-assign]
    app.register_blueprint(v2.blueprint(context), url_prefix=v2.PREFIX)
    app.register_error_handler(AgentError, _by_version(_agent_error))
    app.register_error_handler(OSError, _by_version(_system_error))
    app.register_error_handler(HTTPException, _by_version(_http_error))
    app.register_error_handler(Exception, _by_version(_unexpected))
    return app


def _request_class(body_max_bytes: int) -> type[Request]:
    class AgentRequest(Request):
        # Raw bodies come without a content type; nothing is ever a form.
        max_content_length = body_max_bytes
        max_form_memory_size = None

    return AgentRequest


def _refuse_large_body() -> None:
    """Refuse a body by its length also where nobody reads it."""
    if (request.content_length or 0) > (request.max_content_length or 0):
        raise RequestEntityTooLarge


def _register(app: Flask, version: str, *blueprints: Blueprint) -> None:
    for blueprint in blueprints:
        # A dot in the name is Flask's own separator.
        name = f"{blueprint.name}-{version.replace('.', '-')}"
        app.register_blueprint(blueprint, url_prefix=f"/{version}", name=name)


def _by_version(answer: Callable[[E], Response]) -> Callable[[E], Response]:
    """A handler of errors that leaves those of API 2.0 to it."""

    def handler(error: E) -> Response:
        return v2.answer_to(error) if v2.serves(request.path) else answer(error)

    return handler


def _agent_error(error: AgentError) -> Response:
    LOG.info("%s %s", error.http_status, error)
    if isinstance(error, MalformedRequest):
        return _framework_shape(error.http_status, "Bad Request", str(error))
    shown = {"message": error.message}
    if error.details:
        shown["details"] = error.details
    return reply(error.http_status, **shown)


def _http_error(error: HTTPException) -> Response:
    code = error.code if error.code in _KNOWN_CODES else 400
    response = _framework_shape(code or 500, error.name, error.description or "")
    if allowed := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _system_error(error: OSError) -> Response:
    """A full disk, for instance: the operator's business, and nothing was half written."""
    LOG.error("%s", error)
    return reply(500, message="The amphora could not read or write a file", details=str(error))


def _unexpected(error: Exception) -> Response:
    LOG.error("Unexpected error", exc_info=error)
    internal = InternalServerError()
    return _framework_shape(500, internal.name, f"{type(error).__name__}: {error}")


def _framework_shape(code: int, name: str, description: str) -> Response:
    return reply(code, error=f"{code} {name}: {description}", http_code=code, details=description)
