# SPDX-License-Identifier: Apache-2.0
"""What the agent says of the log offload."""

from pathlib import Path

import pytest

from amphora_agent.operations import logs


def test_without_a_file_nothing_was_asked_for(tmp_path: Path) -> None:
    """No offload is no fault."""
    found = logs.offload(tmp_path / "absent")

    assert (found.state, found.messages, found.is_set_aside) == ("off", (), False)


def test_state_and_messages_are_those_of_the_program(tmp_path: Path) -> None:
    """What was repaired is passed on."""
    path = tmp_path / "state.json"
    path.write_text('{"state": "on", "messages": ["repaired"]}')
    assert logs.offload(path).messages == ("repaired",)
    assert not logs.offload(path).is_set_aside

    path.write_text('{"state": "set aside", "messages": ["error"]}')
    assert logs.offload(path).is_set_aside


@pytest.mark.parametrize("text", ["", "{", '{"state": 1}', "[]"])
def test_damaged_file_is_a_fault(tmp_path: Path, text: str) -> None:
    """A file that cannot be read is not taken for no offload, and no error."""
    path = tmp_path / "state.json"
    path.write_text(text)

    found = logs.offload(path)
    assert found.is_set_aside
    assert str(path) in found.messages[0]
