# SPDX-License-Identifier: Apache-2.0
"""Certificates and certificate lists of a load balancer."""

import re
from pathlib import Path

from amphora_agent.errors import InvalidRequest, NotFound
from amphora_agent.operations import digest
from amphora_agent.operations.context import Context
from amphora_agent.system import files

# Controllers send `<40 hex digits>.pem` and `<uuid>.pem`; a name may not lead out of the directory.
_NAME = re.compile(r"[0-9A-Za-z_-]{1,128}\.pem")


def upload(context: Context, lb_id: str, name: str, content: bytes) -> str:
    """Store a PEM file or a list of such; returns the MD5 of the bytes in hexadecimal.

    Raises:
        InvalidRequest: the name is not one of a PEM file.
    """
    path = _path(context, lb_id, name)
    with context.locks.hold(lb_id):
        files.make_directory(path.parent)
        files.write_atomic(path, content, mode=0o600)
    return digest.md5sum(content)


def md5sum(context: Context, lb_id: str, name: str) -> str:
    """The MD5 of a stored file's bytes, by which the controller sees whether to send it again.

    Raises:
        InvalidRequest: the name is not one of a PEM file.
        NotFound: there is no such file.
    """
    path = _path(context, lb_id, name)
    try:
        return digest.md5sum(path.read_bytes())
    except FileNotFoundError as exc:
        raise NotFound("Certificate Not Found", f"No certificate with file name {name}") from exc


def delete(context: Context, lb_id: str, name: str) -> None:
    """Remove a stored file; one that is not there counts as removed.

    Raises:
        InvalidRequest: the name is not one of a PEM file.
    """
    path = _path(context, lb_id, name)
    with context.locks.hold(lb_id):
        files.remove(path)


def _path(context: Context, lb_id: str, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "Filename has wrong format", f"{name!r} is not letters, digits, _ or - and then .pem"
        )
    return context.settings.layout.cert_dir(lb_id) / name
