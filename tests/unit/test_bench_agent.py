# SPDX-License-Identifier: Apache-2.0
"""The figures of bench/agent."""

import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.agent import haproxy_config, plot, report
from tests.support import need


def one_round(factor: float, *, beyond_s: float) -> dict[str, Any]:
    """A round whose figures are all `factor`, and uploads that take so much more than a check."""
    return {
        "start_s": factor,
        "pss_bytes": factor * 2**20,
        "pss_after_uploads_bytes": factor * 2**20,
        "processes": 3,
        "info_new_s": [factor] * 10,
        "info_kept_s": [factor] * 10,
        "upload_s": {"1": [0.1 + beyond_s] * 3, "1000": [0.5 + beyond_s] * 3},
        "haproxy_check_s": {"1": [0.1] * 3, "1000": [0.5] * 3},
    }


@pytest.mark.parametrize(
    ("factor", "beyond_s", "missed"), [(0.3, 0.04, 0), (0.4, 0.04, 2), (0.6, 0.06, 5)]
)
def test_bench_table_says_which_targets_are_missed(
    factor: float, beyond_s: float, missed: int
) -> None:
    """Start and PSS have to be within 0.35, info within 0.5, an upload within a check and 50 ms."""
    table = report.markdown([one_round(factor, beyond_s=beyond_s)], [one_round(1.0, beyond_s=0.05)])
    assert table.count("NO |") == missed
    assert table.count("yes |") == 5 - missed


def test_bench_plot_is_xml_with_every_line() -> None:
    """The drawing parses and names every line of the table."""
    lines = report.lines([one_round(0.3, beyond_s=0.1)], [one_round(1.0, beyond_s=0.1)])
    texts = [element.text for element in ElementTree.fromstring(plot.ratios(lines)).iter()]
    assert {line.name for line in lines} <= set(texts)


def test_bench_configuration_is_accepted_by_haproxy(tmp_path: Path) -> None:
    """The configuration that is uploaded has so many listeners, and haproxy takes it."""
    need.programs("haproxy")
    file = tmp_path / "haproxy.cfg"
    content = haproxy_config.load_balancer(str(tmp_path)[:40], "lb", listeners=20, revision=1)
    file.write_bytes(content)
    assert content.count(b"\nfrontend ") == 20
    done = subprocess.run(["haproxy", "-c", "-f", str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
