# SPDX-License-Identifier: Apache-2.0
"""The conformance suite against an agent that it did not start and knows by its URL alone."""

import os
import re
import subprocess
import sys
import uuid

import pytest

from tests.functional.conftest import REPOSITORY, Place

pytestmark = pytest.mark.slow

_DEADLINE_S = 300
# The same code asks every target, so that what a URL is to prove is that there is an agent behind
# it: a few tests of each kind, and the transport.
_CHOSEN = (
    *("row_01", "row_02", "row_03", "row_05", "row_06", "row_07", "row_09", "row_10", "row_12"),
    *("routing", "trap_03", "trap_06", "trap_15", "trap_17", "10_01", "10_04_broken", "0_5"),
    "test_1_1",
)
_ENOUGH = 90


def run_suite(place: Place, *options: str, amphora_id: uuid.UUID) -> tuple[int, str]:
    """Exit status and output of pytest, run where the agent can be reached."""
    done = subprocess.run(
        place.outer.command(
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance"),
            *options,
        ),
        cwd=REPOSITORY,
        env={
            **os.environ,
            "AMPHORA_TARGET": "https://127.0.0.1:9443",
            "AMPHORA_TARGET_ID": str(amphora_id),
            "AMPHORA_TARGET_TRUST": str(place.pki.server_chain),
            "AMPHORA_TARGET_IDENTITY": str(place.pki.controller),
            "AMPHORA_TARGET_BASE": str(place.base),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_DEADLINE_S,
    )
    return done.returncode, done.stdout


def test_conformance_suite_takes_a_url(agent: Place) -> None:
    """An agent that is named by its URL passes; only tests that look inside are skipped."""
    chosen = " or ".join(_CHOSEN)
    status, told = run_suite(agent, "-k", chosen, amphora_id=agent.amphora_id)
    assert status == 0, told
    passed = re.search(r"(\d+) passed", told)
    assert passed, told
    assert int(passed[1]) >= _ENOUGH, told


def test_conformance_suite_by_url_can_fail(agent: Place) -> None:
    """The amphora named must be the one that answers: its certificate names it."""
    status, told = run_suite(agent, "-k", "trap_06", amphora_id=uuid.uuid4())
    assert (status, "2 failed" in told) == (1, True), told
