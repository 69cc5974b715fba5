# SPDX-License-Identifier: Apache-2.0
"""API 2.0 described for programs, made of its types and its routes."""

import re
from typing import Any

import msgspec

from amphora_agent.api.v2 import problems
from amphora_agent.api.v2.problems import KINDS, MEDIA_TYPE, Problem
from amphora_agent.api.v2.routes import JSON, METRICS, PREFIX, ROUTES, Route
from amphora_agent.balancer import values
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.health import Health
from amphora_agent.balancer.revision import (
    Current,
    DryRun,
    LoadBalancers,
    Revision,
    Revisions,
    RollBack,
)

Json = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = (LoadBalancer, Current, DryRun, LoadBalancers, Revision, Revisions, RollBack, Health)
_PARAMETER = re.compile(r"<(\w+):(\w+)>")
_PARAMETERS: dict[str, Json] = {
    "uuid": {"type": "string", "format": "uuid"},
    "int": {"type": "integer", "minimum": 0},
}
# Every route can fail so; those with a body also for that.
_ALWAYS = ("failed", "internal_error", "system_error")
_WITH_BODY = ("body_too_large", "invalid_request")


def schema() -> Json:
    """JSON Schema of the document of a load balancer."""
    made = msgspec.json.schema(LoadBalancer, schema_hook=values.schema)
    return {"$schema": _DIALECT, "title": "Load balancer of an amphora", **made}


def description() -> Json:
    """OpenAPI 3.1."""
    [*_refs], components = msgspec.json.schema_components(
        (*_TYPES, Problem),
        schema_hook=values.schema,
        ref_template="#/components/schemas/{name}",
    )
    paths: dict[str, Json] = {}
    for route in ROUTES:
        path = PREFIX + _PARAMETER.sub(r"{\2}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Amphora agent",
            "version": PREFIX.strip("/"),
            "description": "Load balancers as documents. Mutual TLS is the only authorisation.",
        },
        "jsonSchemaDialect": _DIALECT,
        "paths": paths,
        "components": {"schemas": components},
    }


def failures(route: Route) -> tuple[str, ...]:
    """Codes of all the problems that a route can have."""
    found = {*route.failures, *_ALWAYS}
    if route.body:
        found.update(_WITH_BODY)
    if route.conditional:
        found.add("invalid_request")
    if _PARAMETER.search(route.path):
        # What is no id, or no number, leads nowhere.
        found.add("no_such_path")
    return tuple(sorted(found))


def _operation(route: Route) -> Json:
    responses: dict[str, Json] = {}
    for status, name in route.success:
        responses[str(status)] = _success(route, status, name)
    for code in failures(route):
        kind = KINDS[code]
        response = responses.setdefault(str(kind.status), _failure())
        words = f"`{code}`: {kind.title}"
        response["description"] = "; ".join(filter(None, (response["description"], words)))
    operation: Json = {
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": responses,
    }
    if route.body:
        operation["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": _reference(route.body)}},
        }
    return operation


def _success(route: Route, status: int, name: str | None) -> Json:
    words = {200: "What there is", 201: "It is new", 204: "It is gone"}
    response: Json = {"description": words[status]}
    if status == 204:
        return response
    answered: Json = {"type": "object"} if name is None else _reference(name)
    if route.media_type == "application/gzip":
        answered = {}
    if route.media_type == METRICS:
        answered = {"type": "string"}
    if route.dry_run and status == 200:
        answered = {"oneOf": [answered, _reference("DryRun")]}
    response["content"] = {route.media_type: {"schema": answered}}
    if name == "Current":
        response["headers"] = {
            "ETag": {
                "description": "Revision and generation, for If-Match",
                "schema": {"type": "string"},
            }
        }
    return response


def _failure() -> Json:
    return {
        "description": "",
        "content": {MEDIA_TYPE: {"schema": _reference(problems.Problem.__name__)}},
    }


def _parameters(route: Route) -> list[Json]:
    found: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": _PARAMETERS[kind]}
        for kind, name in _PARAMETER.findall(route.path)
    ]
    if route.dry_run:
        schema = {"type": "string", "enum": ["0", "1"]}
        found.append({"name": "dry_run", "in": "query", "schema": schema})
    if route.conditional:
        found += [
            {"name": name, "in": "header", "schema": {"type": "string"}}
            for name in ("If-Match", "If-None-Match")
        ]
    return found


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
