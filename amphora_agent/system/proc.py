# SPDX-License-Identifier: Apache-2.0
"""Small files of the kernel and of other programs, read without raising."""

from pathlib import Path


def read_text(path: Path) -> str | None:
    """The text of a file; None when there is none, or it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def process_stat(pid: int) -> str | None:
    """/proc/<pid>/stat (proc(5)); None when there is no such process."""
    return read_text(Path(f"/proc/{pid}/stat"))


def boot_id() -> str:
    """Another text after each boot."""
    return (read_text(Path("/proc/sys/kernel/random/boot_id")) or "").strip()
