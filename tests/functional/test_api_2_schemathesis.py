# SPDX-License-Identifier: Apache-2.0
"""API 2.0 against its own description, by schemathesis: over TLS, with requests of every kind.

Requests are made of the description, right ones and wrong ones; each answer must have a status, a
type, headers and a body that the description has for it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amphora_agent.api.v2 import openapi
from tests.functional.conftest import Place
from tests.support import documents
from tests.support.documents import LB_ID
from tests.support.mutual_tls import PORT, Client

pytestmark = pytest.mark.slow

URL = f"https://127.0.0.1:{PORT}"
PATH = f"/2.0/loadbalancers/{LB_ID}"
EXAMPLES = 40
SEED = 7
_DEADLINE_S = 300
# A 5xx is an answer that the description has: no VIP of a made-up document is in the namespace,
# for example. Faults of the agent itself are in its log. And documents that the schema allows may
# contradict themselves.
_NOT_ASKED = "not_a_server_error,positive_data_acceptance"


def schemathesis(agent: Place, directory: Path, description: str, *more: str) -> tuple[int, str]:
    """Let it ask an agent; returns its exit status and what it says."""
    ran = subprocess.run(
        agent.outer.command(
            *(sys.executable, "-m", "schemathesis.cli", "run", description, "--url", URL),
            *("--request-cert", str(agent.pki.controller), "--tls-verify", "false"),
            *("--phases", "coverage,fuzzing", "--continue-on-failure", "--warnings", "off"),
            *("--max-examples", str(EXAMPLES), "--seed", str(SEED)),
            *("--exclude-checks", _NOT_ASKED, *more),
        ),
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    return ran.returncode, ran.stdout


def asked(said: str) -> int:
    """How many requests it made, all of which passed."""
    found = re.search(r"(\d+) generated, (\d+) passed", said)
    assert found is not None, said
    assert found[1] == found[2], said
    return int(found[1])


@pytest.mark.parametrize("fixed", [False, True], ids=["any-id", "known-id"])
def test_api_2_answers_what_it_describes(
    agent: Place, controller: Client, tmp_path: Path, *, fixed: bool
) -> None:
    """No answer is one that the description does not have, whatever is asked."""
    document = documents.encoded(documents.http(documents.member(1, 8081)))
    json_type = {"Content-Type": "application/json"}
    assert controller.request("PUT", PATH, document, headers=json_type).status in {200, 201}
    before = controller.request("GET", PATH)
    config = f'[parameters]\nlb_id = "{LB_ID}"\nnumber = 1\n' if fixed else ""
    (tmp_path / "schemathesis.toml").write_text(config)
    # Of one that is there, all is asked but that it goes.
    more = ("--exclude-operation-id", "delete_load_balancer") if fixed else ()
    status, said = schemathesis(agent, tmp_path, f"{URL}/2.0/openapi.json", *more)
    assert status == 0, said
    assert asked(said) > 200
    after = controller.request("GET", PATH)
    assert (after.status, after.json()["document"]) == (200, before.json()["document"])


def test_api_2_answer_that_is_not_described_is_seen(agent: Place, tmp_path: Path) -> None:
    """Where the description lacks a status or says another type, the run above would fail."""
    whole: dict[str, Any] = json.loads(json.dumps(openapi.description()))
    lies = [whole, json.loads(json.dumps(whole))]
    del lies[0]["paths"]["/2.0/loadbalancers/{lb_id}/revisions"]["get"]["responses"]["404"]
    lies[1]["components"]["schemas"]["LoadBalancers"]["properties"] = {
        "loadbalancers": {"type": "string"}
    }
    named = ("list_revisions", "list_load_balancers")
    words = ("Undocumented status code", "Response violates schema")
    for lie, operation, word in zip(lies, named, words, strict=True):
        path = tmp_path / f"{operation}.json"
        path.write_text(json.dumps(lie))
        status, said = schemathesis(agent, tmp_path, str(path), "--include-operation-id", operation)
        assert status == 1, said
        assert word in said
