# SPDX-License-Identifier: Apache-2.0
"""If-Match and If-None-Match."""

import pytest

from amphora_agent.balancer import conditions
from amphora_agent.errors import InvalidRequest, PreconditionFailed


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "tag"),
    [
        (None, None, None),
        (None, None, "3"),
        ('"3"', None, "3"),
        ('"2" , W/"3"', None, "3"),
        ('"3-superseded"', None, "3-superseded"),
        ("*", None, "3"),
        (None, "*", None),
    ],
)
def test_condition_holds(if_match: str | None, if_none_match: str | None, tag: str | None) -> None:
    """What RFC 9110 lets through goes through."""
    conditions.parse(if_match, if_none_match).check(tag)


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "tag"),
    [
        ('"3"', None, None),
        ('"3"', None, "4"),
        ('"3"', None, "3-superseded"),
        ("*", None, None),
        (None, "*", "3"),
    ],
)
def test_condition_fails(if_match: str | None, if_none_match: str | None, tag: str | None) -> None:
    """What is meant for another state is held back, and the state there is is told."""
    with pytest.raises(PreconditionFailed) as failed:
        conditions.parse(if_match, if_none_match).check(tag)
    assert (tag or "there is none") in failed.value.details


@pytest.mark.parametrize(
    ("if_match", "if_none_match"),
    [("3", None), ('"3', None), ("", None), ('"3"', "*"), (None, '"3"')],
)
def test_condition_that_is_not_understood(if_match: str | None, if_none_match: str | None) -> None:
    """A header that is not of the form is an error, and never taken for no condition."""
    with pytest.raises(InvalidRequest):
        conditions.parse(if_match, if_none_match)
