# SPDX-License-Identifier: Apache-2.0
"""What the agent reads of the heartbeat sender's status."""

from pathlib import Path

import pytest

from amphora_agent.operations import heartbeats

# In the form that the sender writes.
STATUS = """{"version": 1, "amphora_id": "a1b2c3d4-0000-4000-8000-000000000001", "interval_s": 2.0,
"silence": "", "unreported": [], "last": {"sequence": 3, "message_version": 3, "controller":
"192.0.2.1:5555", "bytes": 135, "listeners": 0, "pools": 0, "members": 0, "left_out": ""},
"controllers": {"192.0.2.1:5555": {"sent": 3, "failed": 1, "failed_in_a_row": 0,
"last_sent_s": 1795743600.5, "last_failed_s": 1795743590.5, "last_error": "Network is unreachable"},
"[2001:db8::1]:5555": {"sent": 0, "failed": 0, "failed_in_a_row": 0, "last_sent_s": null,
"last_failed_s": null, "last_error": ""}}}"""


def test_tallies_are_read_by_controller(tmp_path: Path) -> None:
    """Each controller has its numbers; fields of the sender that are not needed do not matter."""
    path = tmp_path / "status.json"
    path.write_text(STATUS)

    found = heartbeats.heartbeats(path)
    assert found is not None
    assert {name: (tally.sent, tally.failed) for name, tally in found.controllers.items()} == {
        "192.0.2.1:5555": (3, 1),
        "[2001:db8::1]:5555": (0, 0),
    }
    assert found.controllers["192.0.2.1:5555"].last_sent_s == 1795743600.5
    assert found.silence == ""


@pytest.mark.parametrize("text", [None, "", "{", '{"controllers": 1}', "[]"])
def test_missing_or_damaged_status_is_none(tmp_path: Path, text: str | None) -> None:
    """A sender that has written nothing that can be read is not one without failures."""
    path = tmp_path / "status.json"
    if text is not None:
        path.write_text(text)

    assert heartbeats.heartbeats(path) is None
