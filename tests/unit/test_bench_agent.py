# SPDX-License-Identifier: Apache-2.0
"""The figures of bench/agent."""

import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.agent import haproxy_config, one_round, plot, report
from tests.support import need


def a_round(factor: float, *, beyond_s: float) -> dict[str, Any]:
    """A round whose figures are all `factor`, and uploads that take so much more than a check."""
    return {
        "start_s": factor,
        "pss_bytes": factor * 2**20,
        "pss_in_use_bytes": factor * 2**20,
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
    table = report.markdown([a_round(factor, beyond_s=beyond_s)], [a_round(1.0, beyond_s=0.05)])
    assert table.count("NO |") == missed
    assert table.count("yes |") == 5 - missed


def test_bench_starts_the_agent_as_its_units_do() -> None:
    """Each service is started with the environment of its unit, and with nothing else."""
    for command in one_round.SERVICES["ours"]:
        assert [word for word in command if "=" in word] == ["MALLOC_TRIM_THRESHOLD_=131072"]


def test_bench_measures_the_agent_that_it_stands_beside(tmp_path: Path) -> None:
    """The environment imports the agent of this repository, wherever it is started from."""
    python = one_round.installed(tmp_path / "environment") / "bin/python"
    found = subprocess.run(
        [python, "-c", "import amphora_agent, flask; print(amphora_agent.__file__)"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    repository = Path(one_round.__file__).resolve().parents[2]
    assert Path(found.stdout.strip()) == repository / "amphora_agent/__init__.py"


def test_bench_plot_is_xml_with_every_line() -> None:
    """The drawing parses and names every line of the table."""
    lines = report.lines([a_round(0.3, beyond_s=0.1)], [a_round(1.0, beyond_s=0.1)])
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
