# SPDX-License-Identifier: Apache-2.0
"""The names in a directory, read again only when it has changed."""

from pathlib import Path


class DirectoryNames:
    """The names in a directory that is looked at every few seconds.

    The kernel notes when names were added or removed, in ticks of some milliseconds. So a reading
    is trusted only if the one before found the directory as it was: what was changed in the very
    tick of a reading is seen by the next.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: object = None
        self._is_sure = False
        self._names: frozenset[str] = frozenset()

    def read(self) -> frozenset[str]:
        """The names; the same object as long as nothing was read anew.

        Raises:
            OSError: it cannot be read; FileNotFoundError if there is none.
        """
        found = self._path.stat()
        signature = (found.st_dev, found.st_ino, found.st_mtime_ns)
        is_same = signature == self._signature
        if not (is_same and self._is_sure):
            names = frozenset(path.name for path in self._path.iterdir())
            if names != self._names:
                self._names = names
            self._signature = signature
            self._is_sure = is_same
        return self._names
