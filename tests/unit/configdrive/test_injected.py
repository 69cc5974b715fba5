# SPDX-License-Identifier: Apache-2.0
"""Where injected files go, and how they lie there."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.configdrive.injected import authorized_keys, file_mode
from tests.unit.configdrive.documents import SSH_KEY, UNHURRIED


def test_authorized_keys_keeps_other_lines() -> None:
    """Lines around the block stay, the block is replaced where it stands, or goes."""
    mine = "ssh-rsa AAAA operator\n"
    one = authorized_keys(mine, [SSH_KEY]) + "# after\n"
    two = authorized_keys(one, ["ssh-rsa BBBB new"])
    assert SSH_KEY in one
    assert two == one.replace(SSH_KEY, "ssh-rsa BBBB new")
    assert authorized_keys(two, []) == f"{mine}# after\n"


def test_authorized_keys_never_joins_two_lines() -> None:
    """A last line without an end does not swallow the block."""
    assert "operator\n#" in authorized_keys("ssh-rsa AAAA operator", [SSH_KEY])


@UNHURRIED
@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.sampled_from("abc")))
def test_authorized_keys_a_second_time_changes_nothing(existing: str, keys: list[str]) -> None:
    """Applying the same keys again gives the same text."""
    once = authorized_keys(existing, keys)
    assert authorized_keys(once, keys) == once


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/etc/octavia/amphora-agent.conf", 0o600),
        ("/etc/octavia/certs/client_ca.pem", 0o600),
        ("/etc/ssl/other.key", 0o600),
        ("/etc/rsyslog.d/10-rsyslog.conf", 0o644),
        ("/etc/octavia-other/x.conf", 0o644),
    ],
)
def test_file_mode_keeps_keys_from_others(path: str, mode: int) -> None:
    """Everything below /etc/octavia and every key file is for root alone."""
    assert file_mode(Path(path)) == mode
