# SPDX-License-Identifier: Apache-2.0
"""meta_data.json: who the server is, and what Nova was asked to put into it.

Source of the format: Nova's metadata documentation.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.configdrive.entries import (
    as_object,
    entries,
    good,
    json_object,
    kind,
    optional,
    shown,
    text,
)
from amphora_agent.configdrive.injected import target
from amphora_agent.errors import ParseError

META_DATA = "openstack/latest/meta_data.json"

_CONTENT_PATH = re.compile(r"/content/[A-Za-z0-9_-]+")
_HOST_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_SSH_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+ [A-Za-z0-9+/=]+(?: .*)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReference:
    """A file that Nova was asked to inject.

    Attributes:
        path: where it goes, absolute.
        content: where its bytes lie, relative to the top of the drive.
    """

    path: Path
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MetaData:
    """What meta_data.json says of the server.

    Attributes:
        instance_id: Nova's id of the server; None when the document has none.
        hostname: without a domain.
        public_keys: lines for authorized_keys.
        problems: entries that were left out, and why.
    """

    instance_id: str | None = None
    hostname: str | None = None
    files: tuple[FileReference, ...] = ()
    public_keys: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def meta_data(data: bytes) -> MetaData:
    """Read meta_data.json.

    Raises:
        ParseError: it is not a JSON object.
    """
    document = json_object(data)
    problems: list[str] = []
    references = entries(document, "files", problems)
    return MetaData(
        instance_id=optional(_instance_id, document, problems),
        hostname=optional(_hostname, document, problems),
        files=tuple(good("files", references, _file_reference, problems)),
        public_keys=tuple(_public_keys(document.get("public_keys"), problems)),
        problems=tuple(problems),
    )


def _instance_id(document: Mapping[str, object]) -> str:
    value = text(document, "uuid")
    if not value.isprintable():
        raise ParseError(f"uuid {shown(value)} has control characters")
    return value


def _hostname(document: Mapping[str, object]) -> str | None:
    key = "hostname" if document.get("hostname") else "name"
    if not document.get(key):
        return None
    value = text(document, key)
    label = value.partition(".")[0]
    if not _HOST_LABEL.fullmatch(label):
        raise ParseError(
            f"{key} {shown(value)} is not a host name",
            "letters, digits and inner hyphens, up to 63 before the first dot",
        )
    return label


def _file_reference(entry: object) -> FileReference:
    fields = as_object(entry)
    path = target(fields)
    content = text(fields, "content_path")
    if not _CONTENT_PATH.fullmatch(content):
        raise ParseError(f"content_path {shown(content)} of {path} is not like /content/0000")
    return FileReference(path=path, content=f"openstack{content}")


def _public_keys(value: object, problems: list[str]) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, dict):
        problems.append(f"public_keys: names with keys are needed, not {kind(value)}")
        return
    for name, listed in value.items():
        lines = [line.strip() for line in listed.splitlines()] if isinstance(listed, str) else []
        keys = [line for line in lines if line]
        if keys and all(key.isprintable() and _SSH_KEY.fullmatch(key) for key in keys):
            yield from keys
        else:
            problems.append(f"public_keys: {shown(name)} is not an OpenSSH public key")
