# SPDX-License-Identifier: Apache-2.0
"""The figures of bench/vrrp_check."""

from bench.vrrp_check import report


def test_bench_vrrp_table_has_a_minute_of_checks() -> None:
    """A minute holds twelve checks, and the ratio is ours to upstream's."""
    checks = {
        name: [{"cpu_s": cpu_s, "wall_s": 2 * cpu_s}] * 3
        for name, cpu_s in (("ours", 0.004), ("upstream", 0.032))
    }

    rows = report.markdown({"1": checks, "100": checks}).splitlines()[2:]

    assert rows[:3] == [
        "| CPU per check, median, listeners: 1 | 4.0 ms | 32.0 ms | 0.12 |",
        "| CPU per minute, mean, listeners: 1 | 48.0 ms | 384.0 ms | 0.12 |",
        "| time per check, median, listeners: 1 | 8.0 ms | 64.0 ms | 0.12 |",
    ]
    assert len(rows) == 6
