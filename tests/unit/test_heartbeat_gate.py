# SPDX-License-Identifier: Apache-2.0
"""Whether and when a heartbeat is due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.heartbeat import gate


@pytest.mark.parametrize(
    ("pid_text", "process_stat", "fault"),
    [
        ("12\n", "12 (keepalived) S 1 12", ""),
        ("12", "12 (keepalived_vrrp) R 1 12", ""),
        (None, None, "its pid file is missing"),
        ("", None, "its pid file holds no process id"),
        ("-1", None, "its pid file holds no process id"),
        ("twelve", None, "its pid file holds no process id"),
        ("9" * 30, None, "its pid file holds no process id"),
        ("12", None, "process 12 does not exist"),
        ("12", "12 (keepalived) Z 1 12", "process 12 has ended"),
        ("12", "12 (sshd) S 1 12", "process 12 is 'sshd'"),
        ("12", "12 (a (keepalived) S) S 1", "process 12 is 'a (keepalived) S'"),
    ],
)
def test_gate_opens_only_for_a_live_keepalived(
    pid_text: str | None, process_stat: str | None, fault: str
) -> None:
    """A missing file, a dead process or a foreign one with the same number closes the gate."""
    assert gate.keepalived_fault(pid_text, process_stat) == fault


@pytest.mark.parametrize(
    ("now_s", "due_s"),
    [(100.0, 110.0), (100.7, 110.0), (109.9, 110.0), (110.0, 120.0), (147.0, 150.0)],
)
def test_next_heartbeat_stays_on_its_grid(now_s: float, due_s: float) -> None:
    """The time a heartbeat takes does not move the next one, and missed ones are not made up."""
    assert gate.next_due(100.0, now_s=now_s, interval_s=10.0) == due_s


@given(st.floats(0, 1e6), st.floats(0, 1e5), st.floats(0.05, 86400))
def test_next_heartbeat_is_in_the_future_within_one_interval(
    due_s: float, late_s: float, interval_s: float
) -> None:
    """However late a heartbeat was, the next is due after now and at most an interval away."""
    now_s = due_s + late_s
    following_s = gate.next_due(due_s, now_s=now_s, interval_s=interval_s)
    assert now_s - 1e-6 <= following_s <= now_s + interval_s + 1e-6
