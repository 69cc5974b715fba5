# SPDX-License-Identifier: Apache-2.0
"""API 2.0 over mutual TLS, with the real haproxy: a document is served, changed and taken back."""

import http.client
import json
import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from tests.functional.conftest import LOOPBACK, Place
from tests.functional.haproxy_configs import listener_config
from tests.support import documents
from tests.support.documents import LB_ID
from tests.support.http_member import fetch, http_member
from tests.support.mutual_tls import Answer, Client

PATH = f"/2.0/loadbalancers/{LB_ID}"
JSON = {"Content-Type": "application/json"}
PORT = 8080


@pytest.fixture(autouse=True)
def members(agent: Place) -> Iterator[None]:
    """Two members on loopback that answer with their names."""
    with (
        http_member(agent.inner, "one", LOOPBACK, 8081),
        http_member(agent.inner, "two", LOOPBACK, 8082),
    ):
        yield


@pytest.fixture(autouse=True)
def nothing_left(agent: Place, controller: Client) -> Iterator[None]:
    """After a test nothing of a load balancer is there."""
    yield
    assert controller.request("DELETE", PATH).status == 204
    left = [path for path in agent.base.rglob("*") if LB_ID in str(path)]
    assert left == []


def put(
    controller: Client, document: documents.Document, query: str = "", **headers: str
) -> Answer:
    """Send a document; underscores in names of headers become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return controller.request(
        "PUT", PATH + query, documents.encoded(document), headers=JSON | named
    )


def roll_back(controller: Client, revision: int, **headers: str) -> Answer:
    """Ask for an earlier revision."""
    body = json.dumps({"revision": revision}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return controller.request("POST", f"{PATH}/rollback", body, headers=JSON | named)


def problem(answer: Answer) -> dict[str, Any]:
    """The body of a failure, whose parts agree with each other."""
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.body)
    assert body["status"] == answer.status
    assert body["type"] == f"urn:amphora:problem:{body['code']}"
    return body


def number(answer: Answer) -> int:
    """The revision that the entity tag tells."""
    found = re.fullmatch(r'"(\d+)-[0-9a-f]{8}"', answer.headers["etag"])
    assert found is not None, answer.headers["etag"]
    return int(found[1])


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of the agent, but for those that running programs write."""
    running = (".pid", ".sock", ".log", "servers-state", "running.json")
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mode)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.endswith(running)
    }


def served(agent: Place) -> str:
    """What answers at the VIP."""
    return fetch(agent.inner, IPv4Address(documents.VIP), PORT).text


def test_api_2_put_serves_and_put_again_changes_nothing(agent: Place, controller: Client) -> None:
    """A document is served when the answer comes; the same again makes no revision."""
    document = documents.http(documents.member(1, 8081))
    made = put(controller, document)
    assert made.status == 201, made.body
    assert number(made) == 1
    assert served(agent) == "one"
    again = put(controller, document)
    assert (again.status, again.headers["etag"]) == (200, made.headers["etag"])
    assert again.json()["details"] == []
    shown = controller.request("GET", PATH)
    assert (shown.status, shown.headers["etag"]) == (200, made.headers["etag"])
    assert shown.json()["state"] == "active"
    assert shown.json()["document"]["pools"][0]["members"][0]["port"] == 8081
    # What was read can be sent again, and is the same.
    assert number(put(controller, shown.json()["document"])) == 1
    known = controller.request("GET", "/2.0/loadbalancers").json()
    assert known["loadbalancers"] == [{"id": LB_ID, "api": "2.0", "revision": 1, "state": "active"}]


def test_api_2_change_roll_back_and_revisions(agent: Place, controller: Client) -> None:
    """Each change is a revision; a roll-back serves an earlier one and is a revision itself."""
    put(controller, documents.http(documents.member(1, 8081)))
    assert number(put(controller, documents.http(documents.member(2, 8082)))) == 2
    assert served(agent) == "two"
    back = roll_back(controller, 1)
    assert (back.status, number(back)) == (200, 3)
    assert (back.json()["origin"], back.json()["of"]) == ("rollback", 1)
    assert served(agent) == "one"
    listed = controller.request("GET", f"{PATH}/revisions").json()["revisions"]
    assert [(one["revision"], one["origin"]) for one in listed] == [
        (3, "rollback"),
        (2, "put"),
        (1, "put"),
    ]
    second = controller.request("GET", f"{PATH}/revisions/2").json()
    assert second["document"]["pools"][0]["members"][0]["port"] == 8082
    missing = controller.request("GET", f"{PATH}/revisions/9")
    assert (missing.status, problem(missing)["code"]) == (404, "not_found")
    assert (roll_back(controller, 9).status, roll_back(controller, 0).status) == (404, 400)


def test_api_2_conditions(controller: Client) -> None:
    """If-Match and If-None-Match hold back what is meant for another state."""
    document = documents.http(documents.member(1, 8081))
    early = put(controller, document, If_Match='"1-00000000"')
    assert (early.status, problem(early)["code"]) == (412, "precondition_failed")
    assert controller.request("GET", PATH).status == 404
    made = put(controller, document, If_None_Match="*")
    first = made.headers["etag"]
    assert (made.status, number(made)) == (201, 1)
    assert put(controller, document, If_None_Match="*").status == 412
    changed = documents.http(documents.member(2, 8082))
    assert put(controller, changed, If_Match='"7"').status == 412
    again = put(controller, changed, If_Match=f'"7", {first}')
    second = again.headers["etag"]
    assert number(again) == 2
    assert roll_back(controller, 1, If_Match=first).status == 412
    assert controller.request("DELETE", PATH, headers={"If-Match": first}).status == 412
    assert controller.request("DELETE", PATH, headers={"If-Match": second}).status == 204
    assert put(controller, document, If_Match="1").status == 400


def test_api_2_condition_of_a_load_balancer_that_was_deleted(controller: Client) -> None:
    """After a DELETE the first revision has another entity tag than the first one before it."""
    document = documents.http(documents.member(1, 8081))
    made = put(controller, document)
    assert controller.request("DELETE", PATH).status == 204
    anew = put(controller, document)
    assert (number(made), number(anew)) == (1, 1)
    changed = documents.http(documents.member(2, 8082))
    assert put(controller, changed, If_Match=made.headers["etag"]).status == 412
    # While it is there, only the number changes.
    then = put(controller, changed, If_Match=anew.headers["etag"])
    assert then.headers["etag"] == anew.headers["etag"].replace('"1-', '"2-')


def test_api_2_dry_run_changes_nothing(agent: Place, controller: Client) -> None:
    """A dry run tells files and differences, and neither a file nor haproxy is touched."""
    first = put(controller, documents.http(documents.member(1, 8081)), "?dry_run=1")
    assert first.status == 200
    assert snapshot(agent.base) == {
        "haproxy-default-user-group.conf": (b"global\n    group nogroup\n", 0o100644)
    }
    put(controller, documents.http(documents.member(1, 8081)))
    before, pids = snapshot(agent.base), agent.inner.pids()
    told = put(controller, documents.http(documents.member(1, 8082)), "?dry_run=1").json()
    [config] = told["files"]
    assert config["path"] == str(agent.base / LB_ID / "haproxy.cfg")
    assert ":8082" in config["content"]
    assert any(line.startswith("+") and ":8082" in line for line in config["diff"].splitlines())
    assert any(line.startswith("-") and ":8081" in line for line in config["diff"].splitlines())
    assert (snapshot(agent.base), agent.inner.pids()) == (before, pids)
    assert served(agent) == "one"
    assert put(controller, documents.http(), "?dry_run=maybe").status == 400


def test_api_2_refused_configuration_changes_nothing(agent: Place, controller: Client) -> None:
    """haproxy's words come back as a problem with their place, and what served before goes on."""
    pem = agent.pki.amphora_pem(agent.amphora_id).decode()
    put(controller, documents.http(documents.member(1, 8081)))
    before, pids = snapshot(agent.base), agent.inner.pids()
    bad = documents.with_tls(documents.http(documents.member(2, 8082)), pem)
    bad["listeners"][0]["tls"]["client_ca"] = "ca"
    bad["listeners"][0]["tls"]["client_authentication"] = "MANDATORY"
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    bad["certificates"].append({"name": "ca", "pem": broken})
    refused = put(controller, bad)
    assert (refused.status, problem(refused)["code"]) == (422, "configuration_refused"), (
        refused.body
    )
    assert "haproxy" in problem(refused)["step"]
    assert "ca.pem" in problem(refused)["detail"]
    places = [one["path"] for one in problem(refused)["problems"]]
    assert places == ["listeners[0].tls.client_ca"]
    assert (snapshot(agent.base), agent.inner.pids()) == (before, pids)


def test_api_2_certificates_are_never_shown(agent: Place, controller: Client) -> None:
    """A certificate is told by its checksum only, and lies in no other directory."""
    pems = [agent.pki.amphora_pem(agent.amphora_id).decode() for _ in range(2)]
    key = pems[0].split("PRIVATE KEY-----")[1].strip()[:60]
    plain = documents.http(documents.member(1, 8081))
    first = put(controller, documents.with_tls(plain, pems[0]))
    assert first.status == 201, first.body
    stored = agent.base / "certs" / LB_ID / "front.pem"
    assert (stored.read_text(), stored.stat().st_mode & 0o777) == (pems[0], 0o600)
    shown = controller.request("GET", PATH)
    [certificate] = shown.json()["document"]["certificates"]
    assert (certificate["pem"], len(certificate["sha256"])) == (None, 64)
    dry = put(controller, documents.with_tls(plain, pems[1]), "?dry_run=1")
    kept = controller.request("GET", f"{PATH}/revisions/1")
    for answer in (first, shown, dry, kept):
        assert b"PRIVATE KEY" not in answer.body
        assert key.encode() not in answer.body
    holders = {
        path.parent.name
        for path in agent.base.rglob("*")
        if path.is_file() and key in path.read_text()
    }
    assert holders == {LB_ID, "kept"}
    # The next one without the content: what is there is used.
    assert put(controller, documents.http(documents.member(2, 8082))).status == 200
    assert not stored.exists()
    again = controller.request("GET", f"{PATH}/revisions/1").json()["document"]
    assert put(controller, again).status == 200
    assert stored.read_text() == pems[0]


def test_api_2_certificate_that_is_gone(agent: Place, controller: Client) -> None:
    """After the RAM was lost, a document without contents is refused, and one with them serves."""
    pem = agent.pki.amphora_pem(agent.amphora_id).decode()
    plain = documents.http(documents.member(1, 8081))
    put(controller, documents.with_tls(plain, pem))
    put(controller, plain)
    [kept] = (agent.base / "certs" / LB_ID / "kept").iterdir()
    kept.unlink()
    gone = roll_back(controller, 1)
    assert (gone.status, problem(gone)["code"]) == (409, "certificate_gone")
    assert "front" in problem(gone)["detail"]
    assert served(agent) == "one"
    assert put(controller, documents.with_tls(plain, pem)).status == 200
    (agent.base / "certs" / LB_ID / "front.pem").unlink()
    shown = controller.request("GET", PATH)
    assert (shown.json()["state"], number(shown)) == ("certificates_gone", 3)


def test_api_2_certificate_and_key_must_belong_together(agent: Place, controller: Client) -> None:
    """A certificate with another's key is named by its place in the document."""
    one, other = (agent.pki.amphora_pem(agent.amphora_id).decode() for _ in range(2))
    cut = "-----BEGIN RSA PRIVATE KEY" if "BEGIN RSA" in one else "-----BEGIN PRIVATE KEY"
    mixed = one.split(cut)[0] + cut + other.split(cut)[1]
    refused = put(controller, documents.with_tls(documents.http(), mixed))
    assert (refused.status, problem(refused)["code"]) == (422, "invalid_document")
    [fault] = problem(refused)["problems"]
    assert fault["path"] == "certificates[0].pem"
    assert "does not belong" in fault["reason"]


def test_api_2_upload_by_1_0_supersedes_a_revision(agent: Place, controller: Client) -> None:
    """What a controller uploads is served; 2.0 tells so, and takes over if it is asked to."""
    document = documents.http(documents.member(1, 8081))
    known = put(controller, document).headers["etag"]
    upload = listener_config(agent.base, LB_ID, vip="127.0.0.1", ports={"two": 8082})
    upload = upload.replace(b":80\n", b":%d\n" % PORT)
    path = f"/1.0/loadbalancer/{agent.amphora_id}/{LB_ID}/haproxy"
    assert controller.request("PUT", path, upload).status == 202
    assert controller.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status == 202
    assert served(agent) == "two"
    shown = controller.request("GET", PATH)
    superseded = f'{known[:-1]}-superseded"'
    assert (shown.json()["state"], shown.headers["etag"]) == ("superseded", superseded)
    assert shown.json()["differs"] == [str(agent.base / LB_ID / "haproxy.cfg")]
    assert put(controller, document, If_Match=known).status == 412
    assert number(put(controller, document, If_Match=superseded)) == 2
    assert served(agent) == "one"
    assert controller.request("PUT", f"/1.0/loadbalancer/{LB_ID}/stop").status == 202
    assert controller.request("GET", PATH).json()["state"] == "superseded"
    assert number(put(controller, document)) == 3
    assert served(agent) == "one"


def test_api_2_takes_over_from_1_0(agent: Place, controller: Client) -> None:
    """A load balancer of 1.0 is none of 2.0, which does not delete it, and takes it over."""
    upload = listener_config(agent.base, LB_ID, vip="127.0.0.1", ports={"two": 8082})
    path = f"/1.0/loadbalancer/{agent.amphora_id}/{LB_ID}/haproxy"
    assert controller.request("PUT", path, upload).status == 202
    missing = controller.request("GET", PATH)
    assert (missing.status, "API 1.0" in problem(missing)["detail"]) == (404, True)
    refused = controller.request("DELETE", PATH)
    assert (refused.status, problem(refused)["code"]) == (409, "managed_by_1_0")
    listed = controller.request("GET", "/2.0/loadbalancers").json()["loadbalancers"]
    assert [(one["api"], one["revision"]) for one in listed] == [("1.0", None)]
    document = documents.http(documents.member(1, 8081))
    assert put(controller, document, If_None_Match="*").status == 201
    assert served(agent) == "one"


def test_api_2_keeps_ten_revisions(controller: Client, agent: Place) -> None:
    """The eleventh revision ends the first, and its certificates with it."""
    pem = agent.pki.amphora_pem(agent.amphora_id).decode()
    put(controller, documents.with_tls(documents.http(documents.member(1, 8081)), pem))
    for revision in range(2, 12):
        member = documents.member(1, 8081, weight=revision)
        assert number(put(controller, documents.http(member))) == revision
        assert len(list((agent.base / "certs" / LB_ID / "kept").glob("*"))) == int(revision < 11)
    listed = controller.request("GET", f"{PATH}/revisions").json()["revisions"]
    assert [one["revision"] for one in listed] == list(range(11, 1, -1))
    assert roll_back(controller, 1).status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("PUT", PATH, b"{}", {}, 415, "unsupported_media_type"),
        ("PUT", PATH, b"{}", JSON, 422, "invalid_document"),
        (
            "PUT",
            f"/2.0/loadbalancers/{documents.object_id(9)}",
            None,
            JSON,
            422,
            "invalid_document",
        ),
        ("GET", "/2.0/nothing", None, {}, 404, "no_such_path"),
        ("GET", "/2.0", None, {}, 404, "no_such_path"),
        ("GET", "/2.0/loadbalancers/x", None, {}, 404, "no_such_path"),
        ("POST", PATH, b"{}", JSON, 405, "method_not_allowed"),
        ("POST", f"{PATH}/rollback", b"[]", JSON, 400, "invalid_request"),
    ],
)
def test_api_2_failures_are_problems(
    controller: Client,
    *,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    """Every failure is a problem with the status that says what it is."""
    if body is None and method == "PUT":
        body = documents.encoded(documents.http())
    answer = controller.request(method, path, body, headers=headers)
    assert (answer.status, problem(answer)["code"]) == (status, code)


def test_api_2_body_too_large_is_413(controller: Client) -> None:
    """A body over 16 MiB is refused with the code of HTTP, which 1.0 cannot use."""
    with_length = JSON | {"Content-Length": str(17 * 1024 * 1024)}
    try:
        answer = controller.request("PUT", PATH, b" " * (17 * 1024 * 1024), headers=with_length)
    except (OSError, http.client.HTTPException):
        pytest.skip("the connection was closed before all was sent")
    assert (answer.status, problem(answer)["code"]) == (413, "body_too_large")


def test_api_2_leaves_1_0_as_it_is(controller: Client) -> None:
    """A failure outside of /2.0 has the shape that controllers know."""
    answer = controller.request("GET", "/2.00/loadbalancers")
    assert (answer.status, answer.json()["http_code"]) == (404, 404)
