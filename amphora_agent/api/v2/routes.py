# SPDX-License-Identifier: Apache-2.0
"""The routes of API 2.0; its description for programs is made of this table."""

from dataclasses import dataclass

PREFIX = "/2.0"

JSON = "application/json"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One method of one path.

    Attributes:
        path: below the prefix, as Flask has it.
        operation: its name, of the view too.
        success: status codes, and the names of what is answered; None for no body.
        media_type: of a success.
        body: name of what is sent.
        failures: codes of problems, besides those that every route has.
        conditional: the headers If-Match and If-None-Match are heeded.
        dry_run: the parameter of that name is heeded.
    """

    method: str
    path: str
    operation: str
    summary: str
    success: tuple[tuple[int, str | None], ...]
    media_type: str = JSON
    body: str | None = None
    failures: tuple[str, ...] = ()
    conditional: bool = False
    dry_run: bool = False


_LB = "/loadbalancers/<uuid:lb_id>"
_APPLY = (
    "apply_failed",
    "certificate_gone",
    "configuration_refused",
    "invalid_document",
    "precondition_failed",
    "restore_failed",
    "unsupported_media_type",
    "wrong_amphora",
)

ROUTES = (
    Route(
        method="GET",
        path="/loadbalancers",
        operation="list_load_balancers",
        summary="Every load balancer of the amphora, whichever way it came",
        success=((200, "LoadBalancers"),),
    ),
    Route(
        method="PUT",
        path=_LB,
        operation="put_load_balancer",
        summary="Have the amphora serve a document, wholly or not at all",
        success=((200, "Current"), (201, "Current")),
        body="LoadBalancer",
        failures=_APPLY,
        conditional=True,
        dry_run=True,
    ),
    Route(
        method="GET",
        path=_LB,
        operation="get_load_balancer",
        summary="The document that is served, without secrets",
        success=((200, "Current"),),
        failures=("not_found",),
    ),
    Route(
        method="DELETE",
        path=_LB,
        operation="delete_load_balancer",
        summary="Stop and forget a load balancer; an unknown one counts as deleted",
        success=((204, None),),
        failures=("apply_failed", "managed_by_1_0", "precondition_failed", "restore_failed"),
        conditional=True,
    ),
    Route(
        method="GET",
        path=f"{_LB}/revisions",
        operation="list_revisions",
        summary="The revisions that are kept, the newest first",
        success=((200, "Revisions"),),
        failures=("not_found",),
    ),
    Route(
        method="GET",
        path=f"{_LB}/revisions/<int:number>",
        operation="get_revision",
        summary="One revision, without secrets",
        success=((200, "Revision"),),
        failures=("not_found",),
    ),
    Route(
        method="POST",
        path=f"{_LB}/rollback",
        operation="roll_back",
        summary="Have the amphora serve the document of an earlier revision again",
        success=((200, "Current"),),
        body="RollBack",
        failures=(*_APPLY, "not_found"),
        conditional=True,
        dry_run=True,
    ),
    Route(
        method="GET",
        path="/health",
        operation="get_health",
        summary="How each part is, and why",
        success=((200, "Health"),),
    ),
    Route(
        method="GET",
        path="/metrics",
        operation="get_metrics",
        summary="The agent's own metrics, for a Prometheus server",
        success=((200, None),),
        media_type=METRICS,
    ),
    Route(
        method="GET",
        path="/support-bundle",
        operation="get_support_bundle",
        summary="What an operator needs to see what is wrong, without secrets: a tar.gz",
        success=((200, None),),
        media_type="application/gzip",
    ),
    Route(
        method="GET",
        path="/schema",
        operation="get_schema",
        summary="JSON Schema of the document",
        success=((200, None),),
        media_type="application/schema+json",
    ),
    Route(
        method="GET",
        path="/openapi.json",
        operation="get_openapi",
        summary="This API, as OpenAPI 3.1",
        success=((200, None),),
    ),
)
