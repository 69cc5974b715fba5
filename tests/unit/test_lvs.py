# SPDX-License-Identifier: Apache-2.0
"""How the keepalived of a UDP or SCTP listener takes over a new configuration."""

import pytest

from amphora_agent.operations import lvs


@pytest.mark.parametrize(
    ("version", "well"),
    [("2.3.3", True), ("2.3.0", True), ("2.10.1", True), ("3.0", True), ("2.2.8", False)],
)
def test_keepalived_is_reloaded_from_2_3_on(version: str, well: bool) -> None:
    """Older ones, which leave out members after a reload, are restarted."""
    assert lvs.reloads_well(version) is well


def test_keepalived_without_a_version_is_restarted() -> None:
    """What is not known to reload well is restarted."""
    assert not lvs.reloads_well("")
