# SPDX-License-Identifier: Apache-2.0
"""Failures of API 2.0: problem+json (RFC 9457) with a code that stays the same."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from flask import Response
from werkzeug.exceptions import HTTPException

from amphora_agent import errors
from amphora_agent.balancer import checks

LOG = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of failure."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    "apply_failed": Kind(status=500, title="The change failed, and everything is as before"),
    "body_too_large": Kind(status=413, title="The body is too large"),
    "certificate_gone": Kind(status=409, title="The content of a certificate is not here"),
    "configuration_refused": Kind(status=422, title="A program refuses the configuration"),
    "failed": Kind(status=500, title="The amphora could not do it"),
    "internal_error": Kind(status=500, title="The agent has a fault"),
    "invalid_document": Kind(status=422, title="The document cannot be right"),
    "invalid_request": Kind(status=400, title="The request cannot be right"),
    "managed_by_1_0": Kind(status=409, title="The load balancer came by API 1.0"),
    "method_not_allowed": Kind(status=405, title="The path does not have this method"),
    "no_such_path": Kind(status=404, title="There is no such path"),
    "not_found": Kind(status=404, title="There is no such thing"),
    "precondition_failed": Kind(status=412, title="The load balancer is in another state"),
    "restore_failed": Kind(status=500, title="The change failed, and so did undoing it"),
    "system_error": Kind(status=500, title="A file could not be read or written"),
    "unsupported_media_type": Kind(status=415, title="The body is not JSON"),
    "wrong_amphora": Kind(status=409, title="The amphora was made for something else"),
}
# What the web framework says, by status.
_FRAMEWORK = {
    404: "no_such_path",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong in a document, such as at `listeners[2].tls.client_ca`."""

    path: str
    reason: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A failure.

    Attributes:
        detail: what to look at, often a program's own words.
        problems: all that is wrong with a document, as far as places in it are known.
        step: what failed of a change.
        restored: all is as it was before the change.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    problems: tuple[Fault, ...] = ()
    step: str | None = None
    restored: bool | None = None


def answer(error: Exception) -> Response:
    """The response to a request that failed."""
    problem = problem_of(error)
    if problem.code == "internal_error":
        LOG.error("Unexpected error", exc_info=error)
    else:
        LOG.info("%s %s: %s", problem.status, problem.code, problem.detail)
    response = Response(
        msgspec.json.encode(problem), status=problem.status, content_type=MEDIA_TYPE
    )
    if allowed := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def problem_of(error: Exception) -> Problem:
    """What is told of an error."""
    match error:
        case checks.InvalidDocument():
            faults = tuple(Fault(path=one.path, reason=one.reason) for one in error.problems)
            return _problem("invalid_document", error.message, problems=faults)
        case errors.StepFailed():
            restored = None if error.refused else error.restored
            faults = tuple(Fault(path=path, reason=reason) for path, reason in error.faults)
            return _problem(
                _code(error), str(error), step=error.step, restored=restored, problems=faults
            )
        case errors.AgentError() | OSError():
            return _problem(_code(error), str(error))
        case HTTPException():
            return _problem(_code(error), error.description or error.name)
    return _problem(_code(error), f"{type(error).__name__}; the journal of the agent says more")


def _code(error: Exception) -> str:
    match error:
        case errors.StepFailed(refused=True):
            code = "configuration_refused"
        case errors.StepFailed():
            code = "apply_failed" if error.restored else "restore_failed"
        case errors.Problem():
            code = error.code
        case errors.NotFound():
            code = "not_found"
        case errors.InvalidRequest():
            code = "invalid_request"
        case errors.AgentError():
            code = "failed"
        case HTTPException():
            code = _FRAMEWORK.get(error.code or 0, "invalid_request")
        case OSError():
            code = "system_error"
        case _:
            code = "internal_error"
    return code


def _problem(
    code: str,
    detail: str,
    *,
    problems: tuple[Fault, ...] = (),
    step: str | None = None,
    restored: bool | None = None,
) -> Problem:
    kind = KINDS[code]
    return Problem(
        type=f"urn:amphora:problem:{code}",
        title=kind.title,
        status=kind.status,
        code=code,
        detail=detail,
        problems=problems,
        step=step,
        restored=restored,
    )
