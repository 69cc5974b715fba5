# SPDX-License-Identifier: Apache-2.0
"""The conformance suite names its tests by the numbers of the wire contract; none is missing."""

import re
from pathlib import Path

import pytest

_SUITE = Path(__file__).resolve().parents[1] / "conformance"

# Those that concern the API; the others are about heartbeats, the image and what runs in it.
_TRAPS = {*range(1, 23), 33, 36, 44, 45}
# Items 5 and 6 are traps 15 and 17; item 3 is a test with the real driver.
_ITEMS = {1, 2, 4, 7}


def numbers(prefix: str) -> set[int]:
    """Numbers after a prefix in the names of the suite's tests."""
    names = "\n".join(
        name
        for path in sorted(_SUITE.glob("test_*.py"))
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    )
    # One test may stand for several rows: test_1_5_row_09_10_11_...
    found = re.findall(rf"^test_{prefix}((?:_\d\d)+)_", names, re.MULTILINE)
    return {int(number) for group in found for number in group.strip("_").split("_")}


def test_each_row_of_the_endpoints_has_a_test() -> None:
    """Contract 1.5 has 21 rows, and there is a test with the number of each."""
    assert numbers("1_5_row") == set(range(1, 22))


@pytest.mark.parametrize(("prefix", "wanted"), [("trap", _TRAPS), ("10", _ITEMS)])
def test_each_trap_and_item_of_the_api_has_a_test(prefix: str, wanted: set[int]) -> None:
    """Each trap of chapter 8 and item of chapter 10 about the API has a test with its number."""
    assert numbers(prefix) == wanted
