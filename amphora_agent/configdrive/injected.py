# SPDX-License-Identifier: Apache-2.0
"""Where files of a config drive go, and how they lie there."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from amphora_agent.configdrive.entries import shown, text
from amphora_agent.errors import ParseError

_SECRETS = Path("/etc/octavia")
_SECRET_SUFFIXES = frozenset({".key", ".pem"})


def target(fields: Mapping[str, object]) -> Path:
    """Where the file goes, absolute; ParseError for a path that leads elsewhere than it says."""
    value = text(fields, "path")
    is_plain = value.isprintable() and posixpath.normpath(value) == value
    if not is_plain or not value.startswith("/") or value.startswith("//") or value == "/":
        raise ParseError(f"path {shown(value)} is refused", "it must be absolute, without '..'")
    return Path(value)


def file_mode(path: Path) -> int:
    """The mode of an injected file: what may hold a key is for root alone."""
    is_secret = path.is_relative_to(_SECRETS) or path.suffix in _SECRET_SUFFIXES
    return 0o600 if is_secret else 0o644


def authorized_keys(existing: str, keys: Sequence[str]) -> str:
    """The text of an authorized_keys file with our block replaced and every other line kept."""
    begin = "# begin of the keys from the config drive; amphora-provision replaces this block"
    end = "# end of the keys from the config drive"
    block = "\n".join([begin, *keys, end, ""]) if keys else ""
    ours = re.search(rf"^{re.escape(begin)}$.*?^{re.escape(end)}\n", existing, re.M | re.S)
    if ours is not None:
        return existing[: ours.start()] + block + existing[ours.end() :]
    if existing and block and not existing.endswith("\n"):
        existing += "\n"
    return existing + block
