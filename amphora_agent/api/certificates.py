# SPDX-License-Identifier: Apache-2.0
"""Certificates of a load balancer; for API 0.5, of a listener."""

from uuid import UUID

from flask import Blueprint, Response, request

from amphora_agent.api.responses import ok, reply
from amphora_agent.operations import certificates
from amphora_agent.operations.context import Context


def blueprint(context: Context, owner: str) -> Blueprint:
    """Routes below the version.

    Args:
        owner: the word in the path before the id, which depends on the version.
    """
    routes = Blueprint("certificates", __name__)
    path = f"/{owner}/<uuid:owner_id>/certificates/<name>"

    @routes.put(path)
    def upload(owner_id: UUID, name: str) -> Response:
        return ok(200, certificates.upload(context, str(owner_id), name, request.get_data()))

    @routes.get(path)
    def md5sum(owner_id: UUID, name: str) -> Response:
        digest = certificates.md5sum(context, str(owner_id), name)
        return reply(200, digest, md5sum=digest)

    @routes.delete(path)
    def delete(owner_id: UUID, name: str) -> Response:
        certificates.delete(context, str(owner_id), name)
        return ok(200)

    return routes
