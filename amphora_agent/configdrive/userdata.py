# SPDX-License-Identifier: Apache-2.0
"""user_data: the part of #cloud-config that Octavia uses.

Source of the format: cloud-init's manual.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amphora_agent.configdrive.entries import as_object, entries, good, optional, shown
from amphora_agent.configdrive.injected import file_mode, target
from amphora_agent.errors import ParseError

USER_DATA = "openstack/latest/user_data"

_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_PERMISSIONS = re.compile(r"(?:0o)?0?[0-7]{3}")


# What Octavia has cloud-init run.
_KNOWN_COMMANDS = ("systemctl restart rsyslog", "service amphora-agent restart")


@dataclass(frozen=True, kw_only=True, slots=True)
class UserFile:
    """An entry of `write_files`."""

    path: Path
    content: bytes = field(repr=False)
    mode: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UserData:
    """What user_data asks for.

    Attributes:
        timezone: name in the zone database; that it exists is not checked here.
        ignored: keys that have no effect.
        problems: entries that were left out, and why.
    """

    timezone: str | None = None
    files: tuple[UserFile, ...] = ()
    ignored: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def user_data(data: bytes) -> UserData:
    """Read user_data, a #cloud-config document.

    Raises:
        ParseError: it is of another kind, or not YAML.
    """
    if not data.strip():
        return UserData()
    if not data.startswith(b"#cloud-config"):
        raise ParseError(
            "its first line is not #cloud-config",
            "scripts, MIME archives and compressed data have no effect in this image",
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise ParseError("it is not UTF-8 text", str(exc)) from exc
    document = _usual_user_data(text) or _yaml_object(text)
    problems: list[str] = []
    files = entries(document, "write_files", problems)
    # The commands are not run: Octavia only asks for restarts of services that must see the
    # injected files, and the units of this image start after the files have been written.
    known = {"write_files", "timezone"}
    if all(command in _KNOWN_COMMANDS for command in entries(document, "runcmd", [])):
        known.add("runcmd")
    return UserData(
        timezone=optional(_timezone, document, problems),
        files=tuple(good("write_files", files, _user_file, problems)),
        ignored=tuple(sorted(key for key in document if key not in known)),
        problems=tuple(problems),
    )


def _usual_user_data(text: str) -> Mapping[str, object] | None:
    """What YAML would make of the user_data that nearly every amphora gets; None for any other.

    The YAML library costs more time than all the rest of the provisioner.
    """
    if not text.isascii() or not text.replace("\n", "").isprintable():
        return None
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    usual = re.fullmatch(
        r"runcmd:\n-   systemctl restart rsyslog\ntimezone: ([A-Za-z]+(?:/[A-Za-z_]+)*)",
        "\n".join(lines),
    )
    if usual is None:
        return None
    return {"runcmd": ["systemctl restart rsyslog"], "timezone": usual[1]}


def _yaml_object(text: str) -> Mapping[str, object]:
    import yaml  # noqa: PLC0415 - needed on few boots, and slow to import

    try:
        # Only strings, lists and mappings come out: `permissions: 0644` stays as it is written.
        # Not the C loader: deeply nested text makes that one overflow its stack.
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - builds no objects
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as exc:
        where = getattr(exc, "problem_mark", None)
        line = f"line {where.line + 1}: " if where else ""
        raise ParseError("it is not YAML", line + str(getattr(exc, "problem", exc))) from exc
    return {} if document in (None, "") else as_object(document)


def _timezone(document: Mapping[str, object]) -> str | None:
    value = document.get("timezone")
    if value in (None, ""):
        return None
    if not isinstance(value, str) or not _ZONE.fullmatch(value):
        raise ParseError(f"timezone {shown(value)} is not a name like UTC or Europe/Zurich")
    return value


def _user_file(entry: object) -> UserFile:
    fields = as_object(entry)
    path = target(fields)
    content = fields.get("content", "")
    if not isinstance(content, str):
        raise ParseError(f"content of {path} is not a text")
    if fields.get("encoding", "text/plain") != "text/plain":
        raise ParseError(f"encoding of {path} is not supported", "give the content as plain text")
    if fields.get("append", "false") != "false":
        raise ParseError(f"append of {path} is not supported", "give the whole content")
    if fields.get("owner", "root:root") not in ("root", "root:root"):
        raise ParseError(f"owner of {path} must be root:root")
    return UserFile(path=path, content=_encode(content, path), mode=_user_mode(fields, path))


def _encode(content: str, path: Path) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError as exc:
        raise ParseError(f"content of {path} is not Unicode text", str(exc)) from exc


def _user_mode(fields: Mapping[str, object], path: Path) -> int:
    """The mode asked for, except that what may hold a key stays with root."""
    mode = file_mode(path)
    value = fields.get("permissions")
    if value is None:
        return mode
    if not isinstance(value, str) or not _PERMISSIONS.fullmatch(value):
        raise ParseError(f"permissions {shown(value)} of {path} are not like 0644")
    asked = int(value.removeprefix("0o"), 8)
    return asked if mode == 0o644 else asked & 0o700
