# SPDX-License-Identifier: Apache-2.0
"""Certificates and certificate lists of a load balancer."""

import logging
import re
import time
from pathlib import Path

from amphora_agent import parse
from amphora_agent.errors import InvalidRequest, NotFound
from amphora_agent.operations import digest
from amphora_agent.operations.context import Context
from amphora_agent.system import files

LOG = logging.getLogger(__name__)

# A file that came a moment ago may belong to a configuration that is still to come.
_UNUSED_AGE_S = 3600.0

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


def remove_unused(context: Context, lb_id: str) -> None:
    """Remove old files that the stored configuration of haproxy makes no use of.

    Controllers delete certificates together with their listener only: neither those that others
    have replaced, nor lists, CAs and revocation lists. To be called by who holds the load balancer,
    once haproxy has taken the configuration. Best effort: a file that stays harms nobody.
    """
    layout = context.settings.layout
    directory = layout.cert_dir(lb_id)
    try:
        stored = {path.name: path for path in directory.glob("*.pem")}
        texts = {name: path.read_text(errors="replace") for name, path in stored.items()}
        config = layout.haproxy_config(lb_id).read_text(errors="replace")
        before_s = time.time() - _UNUSED_AGE_S
        for name in parse.unused_certificates(config, str(directory), texts):
            if stored[name].stat().st_mtime < before_s:
                files.remove(stored[name])
                LOG.info("%s was in use no more, and is removed", stored[name])
    except OSError as exc:
        LOG.warning("Certificates of %s that are not in use may stay: %s", lb_id, exc)


def _path(context: Context, lb_id: str, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "Filename has wrong format", f"{name!r} is not letters, digits, _ or - and then .pem"
        )
    return context.settings.layout.cert_dir(lb_id) / name
