# SPDX-License-Identifier: Apache-2.0
"""docs/weaknesses.md names tests that exist."""

import re
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
_PAGE = _REPOSITORY / "docs" / "weaknesses.md"


def rows() -> list[list[str]]:
    """Cells of every row of the page's tables, without their heads."""
    lines = [line for line in _PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in {"reference agent", "---"}]


def names() -> set[str]:
    """Names of all tests."""
    return {
        name
        for path in (_REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }


def test_each_row_names_tests_that_exist() -> None:
    """Every weakness has a test, and no test is named that is not there."""
    there, found = names(), rows()
    assert len(found) > 20
    for weakness, _instead, shown in found:
        named = set(re.findall(r"`(test_\w+)`", shown))
        assert named, weakness
        assert named <= there, named - there
