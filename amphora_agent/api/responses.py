# SPDX-License-Identifier: Apache-2.0
"""Shapes of answers."""

from typing import Any

import msgspec
from flask import Response


def reply(status: int, etag: str | None = None, /, **fields: Any) -> Response:
    """A JSON object; the ETag is bare, without quotes, as controllers know it."""
    return _with_etag(
        Response(msgspec.json.encode(fields), status=status, mimetype="application/json"), etag
    )


def ok(status: int, etag: str | None = None, details: str = "") -> Response:
    """Success, in the shape that controllers log."""
    return reply(status, etag, message="OK", **({"details": details} if details else {}))


def array(items: list[Any]) -> Response:
    """A JSON array, for the one endpoint that answers with one."""
    return Response(msgspec.json.encode(items), mimetype="application/json")


def text(content: bytes, etag: str | None = None) -> Response:
    """Text, such as a stored file, byte for byte."""
    return _with_etag(Response(content, content_type="text/plain; charset=UTF-8"), etag)


def _with_etag(response: Response, etag: str | None) -> Response:
    if etag is not None:
        response.headers["ETag"] = etag
    return response
