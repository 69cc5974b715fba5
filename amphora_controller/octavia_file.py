# SPDX-License-Identifier: Apache-2.0
"""octavia.conf where it lies: read, compared, replaced, put back."""

import os
from pathlib import Path

from amphora_agent.system import files
from amphora_controller import octavia_conf, text_file
from amphora_controller.errors import ControllerError
from amphora_controller.owner import owner_ids

_SECRET_MODE = 0o600
_CONFIG_MODE = 0o640


def difference(before: str, after: str, path: Path) -> str:
    """What a change would change, without secrets."""
    changed = text_file.difference(
        octavia_conf.without_secrets(before), octavia_conf.without_secrets(after), path
    )
    return changed or f"{path}: only secrets change\n"


def replace(path: Path, text: str, owner: str) -> None:
    """Put a new text in place; the one before is kept beside it, for root alone.

    What amphoractl did not write is kept under a name of its own (`.original`) for good.

    Args:
        owner: `user:group`; empty leaves the file to who runs the command.

    Raises:
        ControllerError: it cannot be written, or there is no such user or group.
    """
    ids = owner_ids(owner) if owner else None
    before = text_file.read(path)
    if before and octavia_conf.is_rendered(before):
        text_file.write(path.with_name(f"{path.name}.before"), before, mode=_SECRET_MODE)
    elif before:
        text_file.write(original(path), before, mode=_SECRET_MODE)
    text_file.write(path, text, mode=_CONFIG_MODE, owner=ids)


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


def _ids(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid
