# SPDX-License-Identifier: Apache-2.0
"""Rates, from one heartbeat to the next."""

import pytest

from amphora_controller.heartbeat import message
from amphora_controller.watch.traffic import Rates, rates
from tests.support.watched import AMPHORA, LISTENER


def beat(sequence: int | None, sent: int, *, deltas: bool = True) -> message.Heartbeat:
    """A heartbeat of one listener."""
    listener = message.Listener(
        status="OPEN", open_connections=0, traffic=message.Traffic(bytes_out=sent)
    )
    return message.Heartbeat(
        amphora_id=AMPHORA,
        sequence=sequence,
        version=3 if deltas else 2,
        has_deltas=deltas,
        listeners={LISTENER: listener},
        pools={},
    )


@pytest.mark.parametrize(
    ("before", "after", "elapsed_s", "expected"),
    [
        (beat(4, 9), beat(5, 1000), 10.0, 100.0),
        # Two heartbeats in between went to other controllers; this one is of 10 s of the 30.
        (beat(4, 9), beat(7, 1000), 30.0, 100.0),
        (beat(4, 500, deltas=False), beat(7, 3500, deltas=False), 30.0, 100.0),
    ],
)
def test_rates_are_of_the_time_that_they_were_counted_in(
    before: message.Heartbeat, after: message.Heartbeat, elapsed_s: float, expected: float
) -> None:
    """1,000 bytes of one period of ten seconds are 100 bytes a second, whoever heard the others."""
    found = rates(after, before=before, elapsed_s=elapsed_s)
    assert found == Rates(bytes_in=0, bytes_out=expected, connections=0, errors=0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, beat(0, 10)),
        (beat(9, 10), beat(0, 10)),
        (beat(4, 10), beat(4, 10)),
        (beat(4, 10, deltas=False), beat(5, 9, deltas=False)),
        (beat(4, 10, deltas=False), beat(5, 9)),
    ],
)
def test_rates_that_cannot_be_told_are_not(
    before: message.Heartbeat | None, after: message.Heartbeat
) -> None:
    """After a restart, at first sight, or with counters that went back, there is no rate."""
    assert rates(after, before=before, elapsed_s=10) is None
