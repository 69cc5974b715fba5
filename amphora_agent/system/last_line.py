# SPDX-License-Identifier: Apache-2.0
"""A file whose last line is what counts: what changes every few seconds is added, not replaced.

One call to the system adds a line; a new file under the old name takes seven, and ten times the
time. Before it is large the file is replaced by one that has the last line alone.
"""

import errno
import os
from pathlib import Path

from amphora_agent.system import files

# What is kept of before, at most: this much, or this many of the longest line.
_KEPT_BYTES = 64 * 1024
_KEPT_LINES = 8


class LastLineFile:
    """The file; nothing is synchronised, so that a power failure may leave anything.

    Whoever is killed while a line is added leaves all of it or nothing, as long as it is shorter
    than a page of memory; of a longer one there may be the beginning, without its line end.
    """

    def __init__(self, path: Path, *, mode: int) -> None:
        self.path = path
        self._mode = mode
        self._handle = -1
        self._room_bytes = 0

    def write(self, line: bytes) -> None:
        """Make this the last line.

        Args:
            line: with its line end, and no other.

        Raises:
            OSError: it is not; the file may be damaged, and is replaced the next time.
        """
        # Somebody may have removed the file, and what is added to it then is nowhere.
        if self._handle < 0 or len(line) > self._room_bytes or not os.fstat(self._handle).st_nlink:
            self.close()
            files.write_atomic(self.path, line, mode=self._mode, durable=False)
            self._room_bytes = max(_KEPT_BYTES, _KEPT_LINES * len(line)) - len(line)
            self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            return
        try:
            if os.write(self._handle, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self.close()
            raise
        self._room_bytes -= len(line)

    def close(self) -> None:
        """Give the handle back; the next line replaces the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
