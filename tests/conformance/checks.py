# SPDX-License-Identifier: Apache-2.0
"""Shapes of answers that controllers understand, as assertions."""

import hashlib
from typing import Any

from tests.support.mutual_tls import Answer

# What the driver takes as a failure; any other code of a write counts as success there.
FAILURES = frozenset({400, 401, 403, 404, 405, 409, 500, 503})


def md5(content: bytes) -> str:
    """The digest that controllers compare."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def ok(answer: Answer, status: int) -> dict[str, Any]:
    """A success with the message that controllers log; the body."""
    body = _object(answer)
    assert (answer.status, body.get("message")) == (status, "OK"), _told(answer)
    return body


def failed(answer: Answer, status: int, message: str | None = None) -> dict[str, Any]:
    """A failure in the agent's shape, with details that say more; the body."""
    body = _object(answer)
    assert answer.status == status, _told(answer)
    if message is not None:
        assert body.get("message") == message, _told(answer)
    assert isinstance(body.get("details"), str), _told(answer)
    assert body["details"], _told(answer)
    return body


def framework(answer: Answer, status: int, text: str = "") -> dict[str, Any]:
    """A failure in the shape of the web framework; the body."""
    body = _object(answer)
    assert (answer.status, body.get("http_code")) == (status, status), _told(answer)
    assert body["error"].startswith(f"{status} "), _told(answer)
    assert text in body["error"], _told(answer)
    return body


def _told(answer: Answer) -> str:
    return f"{answer.status} {answer.body!r}"


def _object(answer: Answer) -> dict[str, Any]:
    body = answer.json()
    assert isinstance(body, dict), _told(answer)
    return body
