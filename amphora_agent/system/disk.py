# SPDX-License-Identifier: Apache-2.0
"""Files as the parts of one change: what is done to them, so that it can be undone."""

import os
import stat
from pathlib import Path
from typing import Protocol

from amphora_agent.system import files


class Disk(Protocol):
    """Durable changes of files; each happens wholly or not at all, and may raise OSError."""

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """Bring a file to a content and a mode, with the directories above it."""

    def link(self, source: Path, target: Path) -> bool:
        """Give a file a second name on its file system; False when there is no such file."""

    def move(self, source: Path, target: Path) -> bool:
        """Move a file over another one on its file system; False when there is no such file."""

    def remove(self, path: Path) -> bool:
        """Remove a file; False when there was none."""

    def remove_tree(self, path: Path) -> bool:
        """Remove a directory with all that is in it, or a file; False when there was none."""

    def read(self, path: Path) -> tuple[bytes, int] | None:
        """Content and mode of a file; None when there is none."""


class LocalDisk:
    """The file systems of this machine."""

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """See Disk."""
        files.make_directory(path.parent)
        files.write_atomic(path, data, mode=mode)

    def link(self, source: Path, target: Path) -> bool:
        """See Disk."""
        files.make_directory(target.parent)
        try:
            files.link(source, target)
        except FileNotFoundError:
            return False
        return True

    def move(self, source: Path, target: Path) -> bool:
        """See Disk."""
        if not source.exists():
            return False
        files.make_directory(target.parent)
        files.rename(source, target)
        return True

    def remove(self, path: Path) -> bool:
        """See Disk."""
        return files.remove(path)

    def remove_tree(self, path: Path) -> bool:
        """See Disk."""
        return files.remove_tree(path) if path.is_dir() else files.remove(path)

    def read(self, path: Path) -> tuple[bytes, int] | None:
        """See Disk."""
        try:
            with path.open("rb") as stream:
                mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
                return stream.read(), mode
        except (FileNotFoundError, NotADirectoryError):
            return None
