# SPDX-License-Identifier: Apache-2.0
"""The program that is told, by itself."""

import json
from pathlib import Path

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.watch.delivery import Untold
from amphora_controller.watch.program import Program
from tests.support.watched import AMPHORA, EVENT


def written(directory: Path, script: str) -> Path:
    """A program of the shell."""
    path = directory / "alarm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_program_reads_the_event(tmp_path: Path) -> None:
    """One line of JSON is on its standard input, and nothing else."""
    Program(path=written(tmp_path, f"cat > '{tmp_path}/told'")).tell(EVENT)
    [line] = (tmp_path / "told").read_text().splitlines()
    assert (json.loads(line)["number"], json.loads(line)["object_id"]) == (1, AMPHORA)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo the pager is full >&2; exit 4", "failed with status 4: the pager is full"),
        (
            "printf 'a\\nb\\033[31m\\n'; yes | head -c 100000; exit 4",
            "failed with status 4: a b [31m y y",
        ),
        ("exec sleep 60", "did not end within 0.2 s"),
        ("kill -9 $$", "failed with status -9"),
    ],
)
def test_program_that_fails_took_nothing(tmp_path: Path, script: str, words: str) -> None:
    """Another status than 0, a signal and the deadline are failures, told with what it wrote."""
    with pytest.raises(Untold) as caught:
        Program(path=written(tmp_path, script), deadline_s=0.2).tell(EVENT)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 300


def test_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    """A file that may not be executed, or none, is refused at the start."""
    path = written(tmp_path, "true")
    path.chmod(0o644)
    for wrong in (path, tmp_path / "nowhere", tmp_path):
        with pytest.raises(ControllerError, match="is no program"):
            Program(path=wrong)
