# SPDX-License-Identifier: Apache-2.0
"""Durable, all-or-nothing changes of files."""

import contextlib
import os
import re
import stat
from pathlib import Path

_SUFFIX = ".tmp"
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")


def write_atomic(
    path: Path,
    data: bytes,
    *,
    mode: int,
    owner: tuple[int, int] | None = None,
    durable: bool = True,
) -> None:
    """Replace a file so that a reader, or a crash, sees the old or the new content, never a part.

    Owner and mode are set before the content is written, so that a secret is never readable by
    others and a service never finds a file that is not its own. The directory is synchronised, so
    that the new name survives a power failure.

    Args:
        owner: user and group id; None leaves the file to who runs this.
        durable: otherwise nothing is synchronised, and a power failure may leave anything.

    Raises:
        OSError: nothing was changed (the directory is missing, the disk is full, ...).
    """
    handle, temporary = _make_temporary(path)
    try:
        try:
            if owner is not None:
                os.fchown(handle, *owner)
            os.fchmod(handle, mode)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_directory(path.parent)


def empty(path: Path) -> None:
    """Take the content out of a file, if there is one: that works on a full disk, too."""
    with contextlib.suppress(OSError):
        os.truncate(path, 0)


def write_if_different(path: Path, data: bytes, *, mode: int) -> None:
    """Bring a file and its directory to a content and a mode; one that has both is not touched.

    Raises:
        OSError: the file is as before.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data and stat.S_IMODE(path.stat().st_mode) == mode:
            return
    make_directory(path.parent)
    write_atomic(path, data, mode=mode)


def _make_temporary(path: Path) -> tuple[int, Path]:
    """Open a new file beside `path` that only root may read.

    tempfile and shutil would do it as well; they make every process that writes a file larger by
    a compressor of each kind and a generator of random numbers.
    """
    while True:
        temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}{_SUFFIX}")
        with contextlib.suppress(FileExistsError):
            return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), temporary


def make_directory(path: Path) -> None:
    """Make a directory that all may enter, durably, with those above it that are missing."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=0o755, exist_ok=True)
    sync_directory(path.parent)


def is_temporary(path: Path) -> bool:
    """Whether a file is what a `write_atomic` left that was killed."""
    return _TEMPORARY.fullmatch(path.name) is not None


def rename(source: Path, target: Path) -> None:
    """Move a file over another one in the same directory, durably."""
    os.replace(source, target)
    sync_directory(target.parent)


def link(source: Path, target: Path) -> None:
    """Give a file a second name on the same file system, durably.

    Whoever replaces the file by its first name, as everything here does, leaves the second one
    with the content and the mode that there were.

    Raises:
        FileNotFoundError: there is no such file.
    """
    os.link(source, target)
    sync_directory(target.parent)


def remove(path: Path) -> bool:
    """Remove a file; False when there was none."""
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    sync_directory(path.parent)
    return True


def remove_tree(path: Path) -> bool:
    """Remove a directory with all that is in it; False when there was none."""
    import shutil  # noqa: PLC0415  # see _make_temporary

    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return False
    sync_directory(path.parent)
    return True


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
