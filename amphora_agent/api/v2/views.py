# SPDX-License-Identifier: Apache-2.0
"""What answers the routes of API 2.0: bytes and JSON in and out, no decision."""

from collections.abc import Callable, Mapping
from uuid import UUID

import msgspec
from flask import Response, request
from werkzeug.exceptions import UnsupportedMediaType

from amphora_agent.api.v2 import openapi
from amphora_agent.api.v2.routes import METRICS
from amphora_agent.balancer import checks, conditions, revision
from amphora_agent.balancer.checks import InvalidDocument, Problem
from amphora_agent.balancer.conditions import Condition
from amphora_agent.balancer.revision import Current, RollBack
from amphora_agent.errors import InvalidRequest
from amphora_agent.operations import balancer, health, metrics, revisions, support_bundle
from amphora_agent.operations.context import Context

_YES_OR_NO = {"": True, "1": True, "true": True, "0": False, "false": False}


def _list(context: Context) -> Response:
    return _json(200, revisions.listing(context))


def _put(context: Context, lb_id: UUID) -> Response:
    dry_run = _dry_run()
    document = checks.decode(_body())
    if document.id != str(lb_id):
        reason = f"it is not the one of the path, {lb_id}"
        raise InvalidDocument((Problem(path="id", reason=reason),))
    made, is_new = balancer.put(context, document, _condition(), dry_run=dry_run)
    return _json(201 if is_new and not dry_run else 200, made)


def _get(context: Context, lb_id: UUID) -> Response:
    return _json(200, revisions.get(context, str(lb_id)))


def _delete(context: Context, lb_id: UUID) -> Response:
    balancer.delete(context, str(lb_id), _condition())
    return Response(status=204)


def _history(context: Context, lb_id: UUID) -> Response:
    return _json(200, revisions.history(context, str(lb_id)))


def _past(context: Context, lb_id: UUID, number: int) -> Response:
    return _json(200, revisions.past(context, str(lb_id), number))


def _roll_back(context: Context, lb_id: UUID) -> Response:
    dry_run = _dry_run()
    try:
        wanted = msgspec.json.decode(_body(), type=RollBack)
    except msgspec.MsgspecError as exc:
        raise InvalidRequest(
            "The body is not a roll-back", f'{exc}; right is {{"revision": 3}}'
        ) from exc
    made = balancer.rollback(context, str(lb_id), wanted.revision, _condition(), dry_run=dry_run)
    return _json(200, made)


def _health(context: Context) -> Response:
    return _json(200, health.health(context))


def _metrics(context: Context) -> Response:
    return Response(metrics.exposition(context), content_type=METRICS)


def _support_bundle(context: Context) -> Response:
    response = Response(support_bundle.bundle(context), content_type="application/gzip")
    response.headers["Content-Disposition"] = 'attachment; filename="amphora-support.tar.gz"'
    return response


def _schema(_context: Context) -> Response:
    return Response(msgspec.json.encode(openapi.schema()), content_type="application/schema+json")


def _openapi(_context: Context) -> Response:
    return Response(msgspec.json.encode(openapi.description()), content_type="application/json")


VIEWS: Mapping[str, Callable[..., Response]] = {
    "list_load_balancers": _list,
    "put_load_balancer": _put,
    "get_load_balancer": _get,
    "delete_load_balancer": _delete,
    "list_revisions": _history,
    "get_revision": _past,
    "roll_back": _roll_back,
    "get_health": _health,
    "get_metrics": _metrics,
    "get_support_bundle": _support_bundle,
    "get_schema": _schema,
    "get_openapi": _openapi,
}


def _json(status: int, value: msgspec.Struct) -> Response:
    response = Response(revision.encode(value), status=status, content_type="application/json")
    if isinstance(value, Current):
        response.headers["ETag"] = f'"{revision.tag(value, value.state)}"'
    return response


def _body() -> bytes:
    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise UnsupportedMediaType("send JSON, with Content-Type: application/json")
    return request.get_data()


def _condition() -> Condition:
    return conditions.parse(request.headers.get("If-Match"), request.headers.get("If-None-Match"))


def _dry_run() -> bool:
    given = request.args.get("dry_run", "0")
    try:
        return _YES_OR_NO[given.lower()]
    except KeyError as exc:
        raise InvalidRequest("dry_run is not understood", f"{given!r} is not 1 or 0") from exc
