# SPDX-License-Identifier: Apache-2.0
"""What a change would do, for people: unified diffs without secrets."""

import difflib

from amphora_agent.balancer import redact
from amphora_agent.balancer.state import Change, File


def unified(change: Change) -> str:
    """The change of one file as `diff -u` would show it; of a secret one only the checksums."""
    lines = difflib.unified_diff(
        _lines(change.before),
        _lines(change.after),
        "/dev/null" if change.before is None else str(change.path),
        "/dev/null" if change.after is None else str(change.path),
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def shown(file: File) -> str:
    """A file as it may be shown."""
    if file.secret:
        return f"{redact.HIDDEN} SHA-256 {file.sha256}\n"
    return redact.text(file.content.decode(errors="replace"))


def _lines(file: File | None) -> list[str]:
    return [] if file is None else shown(file).splitlines(keepends=True)
