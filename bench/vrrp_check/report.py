# SPDX-License-Identifier: Apache-2.0
"""Figures of many runs into a table; pure."""

import statistics
from collections.abc import Mapping

Run = dict[str, float]
# By the names of the two checks.
Checks = dict[str, list[Run]]

# Octavia's default: vrrp_check_interval = 5.
CHECKS_PER_MINUTE = 12


def markdown(found: Mapping[str, Checks]) -> str:
    """The table, from the runs by the number of listeners."""
    text = "| what | this agent | upstream | ratio |\n| --- | --- | --- | --- |\n"
    for listeners, checks in found.items():
        ours, upstream = checks["ours"], checks["upstream"]
        for name, key, figure, factor in (
            ("CPU per check, median", "cpu_s", statistics.median, 1e3),
            ("CPU per minute, mean", "cpu_s", statistics.mean, 1e3 * CHECKS_PER_MINUTE),
            ("time per check, median", "wall_s", statistics.median, 1e3),
        ):
            a, b = (figure([run[key] for run in runs]) * factor for runs in (ours, upstream))
            text += f"| {name}, listeners: {listeners} | {a:.1f} ms | {b:.1f} ms | {a / b:.2f} |\n"
    return text
