# SPDX-License-Identifier: Apache-2.0
"""octavia.conf where it lies: read, compared, replaced, put back."""

import difflib
import os
from pathlib import Path

from amphora_agent.system import files
from amphora_controller import octavia_conf
from amphora_controller.errors import ControllerError
from amphora_controller.owner import owner_ids

_SECRET_MODE = 0o600
_CONFIG_MODE = 0o640


def read(path: Path) -> str:
    """The file's text, empty where there is none.

    Raises:
        ControllerError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as exc:
        raise ControllerError(f"{path} cannot be read", str(exc)) from exc


def difference(before: str, after: str, path: Path) -> str:
    """What a change would change, without secrets."""
    lines = difflib.unified_diff(
        octavia_conf.without_secrets(before).splitlines(keepends=True),
        octavia_conf.without_secrets(after).splitlines(keepends=True),
        str(path),
        f"{path} (new)",
    )
    return "".join(lines) or f"{path}: only secrets change\n"


def replace(path: Path, text: str, owner: str) -> None:
    """Put a new text in place; the one before is kept beside it, for root alone.

    What amphoractl did not write is kept under a name of its own (`.original`) for good.

    Args:
        owner: `user:group`; empty leaves the file to who runs the command.

    Raises:
        ControllerError: it cannot be written, or there is no such user or group.
    """
    ids = owner_ids(owner) if owner else None
    before = read(path)
    if before and octavia_conf.is_rendered(before):
        write(path.with_name(f"{path.name}.before"), before, mode=_SECRET_MODE)
    elif before:
        write(original(path), before, mode=_SECRET_MODE)
    write(path, text, mode=_CONFIG_MODE, owner=ids)


def restore(path: Path) -> None:
    """Undo what `replace` did; only a file that it wrote may be there.

    Raises:
        ControllerError: a file cannot be written or removed.
    """
    try:
        first = original(path)
        if first.exists():
            first.chmod(_CONFIG_MODE)
            os.chown(first, *_ids(path))
            first.replace(path)
        else:
            files.remove(path)
        files.remove(path.with_name(f"{path.name}.before"))
    except OSError as exc:
        raise ControllerError(f"{path} cannot be removed", exc.strerror or str(exc)) from exc


def original(path: Path) -> Path:
    """Where the file is kept that amphoractl did not write."""
    return path.with_name(f"{path.name}.original")


def write(path: Path, text: str, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write a file, and its directory if that is missing.

    Raises:
        ControllerError: it cannot be written.
    """
    try:
        files.make_directory(path.parent)
        files.write_atomic(path, text.encode(), mode=mode)
        if owner is not None:
            os.chown(path, *owner)
    except OSError as exc:
        raise ControllerError(f"{path} cannot be written", exc.strerror or str(exc)) from exc


def _ids(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid
