# SPDX-License-Identifier: Apache-2.0
"""The measurements of the image test on paper."""

import json
from pathlib import Path

from tests.support.measurements import Measurements


def test_figures_are_written_in_order_with_the_machine(tmp_path: Path) -> None:
    """The file holds the figures as they were taken, rounded, beside date and machine."""
    taken = Measurements(accelerator="tcg")
    taken.note("image size, MiB", 143.937)
    taken.note("boot, s", 31)
    path = tmp_path / "measurements.json"
    taken.write(path)
    document = json.loads(path.read_text())
    assert list(document["figures"].items()) == [("image size, MiB", 143.94), ("boot, s", 31)]
    assert document["machine"]["accelerator"] == "tcg"
    assert len(document["date"]) == len("2026-01-31")


def test_table_has_a_line_for_each_figure() -> None:
    """Names are aligned, so that the numbers stand under each other."""
    taken = Measurements()
    taken.note("a", 1.5)
    taken.note("longer", 20)
    assert taken.table() == ["a              1.5", "longer          20"]
