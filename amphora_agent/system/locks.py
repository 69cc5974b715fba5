# SPDX-License-Identifier: Apache-2.0
"""Locks between processes."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Wait for a directory and hold it against every other process that does the same.

    The kernel lets go of it when the process ends, however it ends.

    Raises:
        OSError: there is no such directory.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
