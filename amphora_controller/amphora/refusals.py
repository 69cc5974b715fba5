# SPDX-License-Identifier: Apache-2.0
"""What an amphora says when it does not do what it was asked, in one shape for people.

Three shapes come over the wire: `{"message", "details"}` and `{"error", "http_code"}` of API 1.0,
and problem+json (RFC 9457) of API 2.0, whose `problems` name each fault with its path.
"""

import json
from typing import Any

from amphora_controller.amphora.client import Answer
from amphora_controller.errors import ControllerError

_PROBLEM = "application/problem+json"
_SHOWN_CHARACTERS = 300


class Refused(ControllerError):
    """The amphora answered, and what it says is no.

    Attributes:
        status: of HTTP.
        code: of API 2.0, such as `invalid_document`; empty for API 1.0.
    """

    def __init__(self, message: str, hint: str, *, status: int, code: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code


def expect(answer: Answer, *statuses: int) -> Answer:
    """The answer, if it has one of these statuses.

    Raises:
        Refused: it has another one.
    """
    if answer.status in statuses:
        return answer
    document = _object(answer.body)
    if answer.headers.get("content-type", "").startswith(_PROBLEM) and document:
        raise _of_problem(answer.status, document)
    said = document.get("message") or document.get("error")
    details = document.get("details") or ""
    if not said:
        said, details = details, ""
    if not said:
        said = f"status {answer.status}"
        details = answer.body[:_SHOWN_CHARACTERS].decode(errors="backslashreplace")
    raise Refused(f"the amphora refuses it: {said}", _indented(str(details)), status=answer.status)


def expect_2_0(answer: Answer, *statuses: int) -> Answer:
    """The same for a path of API 2.0, which another agent than ours does not have.

    Raises:
        ControllerError: the answer has another status, or there is no such API.
    """
    try:
        return expect(answer, *statuses)
    except Refused as exc:
        if exc.status == 404 and not exc.code:
            raise ControllerError(
                "the amphora has no API 2.0", "it was made of another image, or of an older one"
            ) from exc
        raise


def _of_problem(status: int, document: dict[str, Any]) -> Refused:
    code = str(document.get("code", ""))
    lines = [str(document.get("detail", ""))]
    problems = document.get("problems")
    for problem in problems if isinstance(problems, list) else []:
        if isinstance(problem, dict):
            lines.append(f"{problem.get('path')}: {problem.get('reason')}")
    if step := document.get("step"):
        lines.append(f"it failed at the step: {step}")
    if document.get("restored") is True:
        lines.append("all is as it was before")
    if document.get("restored") is False:
        lines.append("something could not be put back: look at the amphora's health and journal")
    message = f"{document.get('title', 'the amphora refuses it')} ({code})"
    hint = _indented("\n".join(line for line in lines if line))
    return Refused(message, hint, status=status, code=code)


def _indented(text: str) -> str:
    """Lines as they stand below a message; the first one is indented by who prints it."""
    return "\n  ".join(text.strip().splitlines())


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
