# SPDX-License-Identifier: Apache-2.0
"""Failed handshakes: counted always, logged not too often."""

import logging
from dataclasses import dataclass

import pytest

from amphora_agent.system.handshakes import Cause, Failures


@dataclass
class Clock:
    """A clock that stands until it is set."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def test_failures_of_one_cause_are_logged_once_an_interval(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hundred failures at once are two lines: the first, and later how many came after it."""
    clock = Clock()
    failures = Failures(clock)
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            failures.record(Cause.TIMEOUT, f"192.0.2.{number}")
        assert [record.message for record in caplog.records] == [
            "TLS handshakes failed, timeout: 1, last with 192.0.2.0"
        ]
        clock.now += 10
        failures.tell()
        failures.tell()
    assert caplog.records[1].message == "TLS handshakes failed, timeout: 99, last with 192.0.2.99"
    assert len(caplog.records) == 2
    assert failures.counts == {Cause.TIMEOUT: 100}


def test_failures_of_another_cause_are_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """One noisy cause does not hide another."""
    failures = Failures(Clock())
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            failures.record(Cause.TIMEOUT, "192.0.2.1")
        failures.record(Cause.EXPIRED, "192.0.2.2", "certificate has expired")
    assert caplog.records[-1].message == (
        "TLS handshakes failed, client certificate expired: 1, "
        "last with 192.0.2.2: certificate has expired"
    )
    assert failures.counts == {Cause.TIMEOUT: 5, Cause.EXPIRED: 1}
