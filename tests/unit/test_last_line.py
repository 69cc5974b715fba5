# SPDX-License-Identifier: Apache-2.0
"""A file whose last line counts."""

import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from amphora_agent.system.last_line import LastLineFile


@pytest.fixture
def file(tmp_path: Path) -> Iterator[LastLineFile]:
    """One that is not there yet."""
    with closing(LastLineFile(tmp_path / "f", mode=0o640)) as made:
        yield made


def test_lines_are_added_to_one_file(file: LastLineFile) -> None:
    """The first line makes the file, with its mode; others are added to the very same one."""
    file.write(b"one\n")
    before = file.path.stat()
    file.write(b"two\n")
    assert file.path.read_bytes() == b"one\ntwo\n"
    assert file.path.stat().st_ino == before.st_ino
    assert stat.S_IMODE(before.st_mode) == 0o640


def test_what_was_there_is_replaced(file: LastLineFile) -> None:
    """A file of before, whatever is in it, is not added to."""
    file.path.write_bytes(b"old, without an end")
    file.write(b"new\n")
    assert file.path.read_bytes() == b"new\n"


def test_file_stays_small(file: LastLineFile) -> None:
    """However often it is written, it holds some lines of before, and always the last one."""
    sizes = set()
    for number in range(3000):
        line = b"%d %s\n" % (number, b"x" * 100)
        file.write(line)
        sizes.add(file.path.stat().st_size)
        assert file.path.read_bytes().endswith(line)
    assert max(sizes) <= 64 * 1024
    assert len(sizes) > 500
    large = b"y" * 100_000 + b"\n"
    for _ in range(20):
        file.write(large)
    assert file.path.stat().st_size <= 8 * len(large)


def test_removed_file_comes_back(file: LastLineFile) -> None:
    """What is written after somebody has removed the file is in a file of this name."""
    file.write(b"one\n")
    file.path.unlink()
    file.write(b"two\n")
    assert file.path.read_bytes() == b"two\n"


def test_failure_is_an_error_and_the_next_line_replaces_all(
    file: LastLineFile, tmp_path: Path
) -> None:
    """Without its directory nothing is written; once that is back, the new line alone is."""
    file.write(b"one\n")
    file.path.unlink()
    away = tmp_path.with_name(f"{tmp_path.name}-away")
    tmp_path.rename(away)
    with pytest.raises(FileNotFoundError):
        file.write(b"two\n")
    away.rename(tmp_path)
    file.write(b"three\n")
    assert file.path.read_bytes() == b"three\n"
