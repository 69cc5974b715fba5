# SPDX-License-Identifier: Apache-2.0
"""The agent is killed at every step of a change by API 2.0; after its next start the old state, or
the new one, is there as a whole, and serves.
"""

import hashlib
import json
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.functional.conftest import LOOPBACK, Place
from tests.functional.kill_requests import Request
from tests.functional.killing import killable
from tests.support import documents
from tests.support.documents import LB_ID, Document
from tests.support.http_member import http_member
from tests.support.tls_client import fetch_tls

pytestmark = pytest.mark.slow

PATH = f"/2.0/loadbalancers/{LB_ID}"
PORT = 8443
# The most steps that a change may have; it has to end before.
STEPS_MAX = 900
# Killing at every step takes minutes; neighbouring steps are much alike, so every third is taken.
STRIDE = 3


@pytest.fixture
def served_place(fresh_place: Place) -> Iterator[Place]:
    """A place with two members."""
    with (
        http_member(fresh_place.inner, "one", LOOPBACK, 8081),
        http_member(fresh_place.inner, "two", LOOPBACK, 8082),
    ):
        yield fresh_place


def put(document: Document) -> Request:
    """A request that brings a document."""
    return Request(method="PUT", path=PATH, body=documents.encoded(document))


def last_revision(base: Path) -> tuple[int, dict[str, str | None]]:
    """Number and checksums of the newest revision; 0 when there is none."""
    found = sorted((base / "revisions" / LB_ID).glob("*.json"), key=lambda path: int(path.stem))
    if not found:
        return 0, {}
    return int(found[-1].stem), json.loads(found[-1].read_bytes())["files"]


def assert_whole(base: Path) -> int:
    """Every file is as the newest revision says, and nothing else is there; its number."""
    number, wanted = last_revision(base)
    for name, sha256 in wanted.items():
        path = Path(name)
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
        assert found == sha256, f"{path} is not that of revision {number}"
    stored = {str(path) for path in (base / "certs" / LB_ID).glob("*.pem")}
    assert stored == {name for name in wanted if "/certs/" in name}
    for directory in (base / "transactions", base / "certs" / "transactions"):
        assert not directory.exists() or list(directory.iterdir()) == []
    assert not [path for path in base.rglob(".*") if path.is_file()]
    return number


def test_api_2_kill_at_any_step_leaves_old_or_new(served_place: Place) -> None:
    """Before a change is done the next start undoes it; afterwards it stays."""
    place = served_place
    pems = [place.pki.amphora_pem(place.amphora_id).decode() for _ in range(2)]
    old, new = (
        documents.with_tls(documents.http(documents.member(1, port), port=PORT), pem)
        for port, pem in zip((8081, 8082), pems, strict=True)
    )
    answers = {"old": 0, "new": 0}
    with killable(place) as agent:
        agent.run([put(old)])
        for step in range(1, STEPS_MAX, STRIDE):
            before, _files = last_revision(place.base)
            ran = agent.run([put(new)], step)
            # The next start.
            agent.run([])
            number = assert_whole(place.base)
            text, _certificate = fetch_tls(place.inner, IPv4Address(documents.VIP), PORT)
            told = f"step {step}: {ran.statuses}, serves {text}, revision {before} -> {number}"
            assert (text, number) in {("one", before), ("two", before + 1)}, told
            answers["new" if text == "two" else "old"] += 1
            if ran.statuses:
                assert (ran.statuses, text) == ([200], "two"), told
            if not ran.killed:
                break
            assert agent.run([put(old)]).statuses == [200]
        assert not ran.killed, "the change has more steps than this test kills"
        agent.run([Request(method="DELETE", path=PATH)])
    assert answers["old"] > 30
    assert answers["new"] > 1
    assert [path for path in place.base.rglob("*") if LB_ID in str(path)] == []
    assert "Traceback" not in place.log.read_text()


@pytest.mark.parametrize("change", ["create", "delete"])
def test_api_2_kill_of_a_first_put_and_a_delete(served_place: Place, change: str) -> None:
    """A load balancer that was not made leaves nothing; one that was not deleted serves."""
    place = served_place
    pem = place.pki.amphora_pem(place.amphora_id).decode()
    document = documents.with_tls(documents.http(documents.member(1, 8081), port=PORT), pem)
    request = put(document) if change == "create" else Request(method="DELETE", path=PATH)
    back = Request(method="DELETE", path=PATH) if change == "create" else put(document)
    with killable(place) as agent:
        for step in range(1, STEPS_MAX, STRIDE):
            assert agent.run([back]).statuses[0] in {200, 201, 204}
            killed = agent.run([request], step).killed
            agent.run([])
            if last_revision(place.base)[0]:
                assert_whole(place.base)
                fetched = fetch_tls(place.inner, IPv4Address(documents.VIP), PORT)
                assert fetched[0] == "one", step
            else:
                left = [path for path in place.base.rglob("*") if LB_ID in str(path)]
                assert left == [], step
                assert place.inner.pids() == [], step
            if not killed:
                break
        assert not killed
        agent.run([Request(method="DELETE", path=PATH)])
    assert "Traceback" not in place.log.read_text()
