# SPDX-License-Identifier: Apache-2.0
"""Files of text on this host: read, compared, written whole."""

import difflib
from pathlib import Path

from amphora_agent.system import files
from amphora_controller.errors import ControllerError


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
    """What a change would change, as a unified diff; empty if nothing."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        str(path),
        f"{path} (new)",
    )
    return "".join(lines)


def write(path: Path, text: str, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write a file, and its directory if that is missing.

    Raises:
        ControllerError: it cannot be written.
    """
    try:
        files.make_directory(path.parent)
        files.write_atomic(path, text.encode(), mode=mode, owner=owner)
    except OSError as exc:
        raise ControllerError(f"{path} cannot be written", exc.strerror or str(exc)) from exc
