# SPDX-License-Identifier: Apache-2.0
"""The step services where neither systemd nor a database is needed."""

from pathlib import Path

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.setup.services import reason
from tests.support.sites import loaded


def test_site_without_units_is_refused(tmp_path: Path) -> None:
    """A list of no services is told with its place."""
    with pytest.raises(ControllerError) as caught:
        loaded(tmp_path, services={"units": []})
    assert "services.units: Expected `array` of length >= 1" in caught.value.hint


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "Traceback (most recent call last):\n"
            '  File "x.py", line 1\n'
            "2026-11-27 ERROR octavia-db-manage sqlalchemy.exc.OperationalError: (2003) no\n"
            "2026-11-27 ERROR octavia-db-manage \n",
            "sqlalchemy.exc.OperationalError: (2003) no",
        ),
        ("usage: octavia-db-manage\n\n", "usage: octavia-db-manage"),
        ("", "it says nothing"),
    ],
)
def test_reason_of_a_failure_is_found(output: str, words: str) -> None:
    """Of a traceback the exception is told, of other output the last line."""
    assert reason(output) == words
