# SPDX-License-Identifier: Apache-2.0
"""`amphoractl amphora push`, `revisions` and `rollback` with the real agent and haproxy."""

import json
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional import controller_console
from tests.functional.conftest import LOOPBACK, Place
from tests.functional.controller_console import ADDRESS, Console
from tests.functional.haproxy_configs import listener_config
from tests.functional.test_api_2 import snapshot
from tests.support import documents
from tests.support.documents import LB_ID, Document
from tests.support.http_member import fetch, http_member
from tests.support.mutual_tls import Client

PORT = 8080
ONE, TWO = documents.member(1, 8081), documents.member(2, 8082)


@pytest.fixture(autouse=True)
def members(agent: Place) -> Iterator[None]:
    """Two members on loopback that answer with their names."""
    with (
        http_member(agent.inner, "one", LOOPBACK, 8081),
        http_member(agent.inner, "two", LOOPBACK, 8082),
    ):
        yield


@pytest.fixture(autouse=True)
def nothing_left(controller: Client) -> Iterator[None]:
    """After a test the amphora has no load balancer."""
    yield
    assert controller.request("DELETE", f"/2.0/loadbalancers/{LB_ID}").status == 204


@pytest.fixture
def console(agent: Place, tmp_path: Path) -> Console:
    """A controller."""
    return controller_console.make(agent, tmp_path / "certs")


def written(console: Console, document: Document, suffix: str = ".json") -> str:
    """A document as a file."""
    path = console.directory / f"document{suffix}"
    path.write_text(json.dumps(document) if suffix == ".json" else yaml.safe_dump(document))
    return str(path)


def pushed(console: Console, document: Document, *arguments: str) -> dict[str, Any]:
    """What is told of a push that succeeds."""
    said = console.amphora("push", written(console, document), ADDRESS, "--json", *arguments)
    [row] = said.json
    assert row["address"] == ADDRESS
    return dict(row)


def answers(console: Console) -> str:
    """What answers at the VIP."""
    return fetch(console.place.inner, IPv4Address(documents.VIP), PORT).text


def test_push_serves_and_rollback_serves_what_was(console: Console) -> None:
    """YAML is served as JSON is; each change is a revision, which can be shown and taken back."""
    file = written(console, documents.http(ONE), ".yaml")
    said = console.amphora("push", file, ADDRESS)
    assert said.status == 0, said
    assert said.out.startswith(f"{ADDRESS}: serves revision 1-")
    assert answers(console) == "one"
    assert pushed(console, documents.http(TWO))["revision"] == 2
    assert answers(console) == "two"
    said = console.amphora("push", written(console, documents.http(TWO)), ADDRESS)
    assert said.out.startswith(f"{ADDRESS}: serves revision 2-")
    assert said.out.endswith("\n  nothing had to change\n")
    [back] = console.amphora("rollback", ADDRESS, "1", "--json").json
    assert (back["revision"], back["origin"], back["of"]) == (3, "rollback", 1)
    assert answers(console) == "one"
    kept = console.amphora("revisions", ADDRESS, "--json").json
    assert (kept["id"], kept["state"]) == (LB_ID, "active")
    assert [one["revision"] for one in kept["revisions"]] == [3, 2, 1]
    lines = console.amphora("revisions", ADDRESS).out.splitlines()
    assert lines[0] == f"load balancer {LB_ID}: revision 3-{back['generation']}, active"
    assert lines[1].endswith("rollback of 1")
    shown = console.amphora("revisions", ADDRESS, "--show", "2").json
    assert shown["pools"][0]["members"][0]["port"] == 8082
    # What was shown can be pushed.
    assert pushed(console, shown)["revision"] == 4


def test_dry_run_shows_files_and_differences_and_changes_nothing(console: Console) -> None:
    """haproxy.cfg would change from one member to the other; no byte of the agent's does."""
    pushed(console, documents.http(ONE))
    before = snapshot(console.place.directory)
    file = written(console, documents.http(TWO))
    said = console.amphora("push", file, ADDRESS, "--dry-run")
    assert said.status == 0, said.err
    assert f"{ADDRESS}: 1 file would change\n" in said.out
    assert f"{LB_ID}/haproxy.cfg" in said.out
    changes = [line[1:].split() for line in said.out.splitlines() if line[:1] in "+-"]
    assert [line[2] for line in changes if line[:1] == ["server"]] == [
        "127.0.0.1:8081",
        "127.0.0.1:8082",
    ]
    planned = pushed(console, documents.http(TWO), "--dry-run")
    assert "127.0.0.1:8082" in planned["files"][0]["content"]
    assert snapshot(console.place.directory) == before
    pushed(console, documents.http(TWO))
    before = snapshot(console.place.directory)
    said = console.amphora("rollback", ADDRESS, "1", "--dry-run")
    assert "+    server" in said.out
    assert snapshot(console.place.directory) == before


def test_push_of_nothing_new_plans_no_file(console: Console) -> None:
    """A dry run of what is served tells of no file."""
    pushed(console, documents.http(ONE))
    said = console.amphora("push", written(console, documents.http(ONE)), ADDRESS, "--dry-run")
    assert said.out == f"{ADDRESS}: no files would change\n"


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_refused_document_names_every_path(console: Console, more: tuple[str, ...]) -> None:
    """Each fault of a document is told with its place, and nothing is served."""
    document = documents.http(dict(ONE))
    document["listeners"][0]["port"] = 0
    document["pools"][0]["members"][0]["address"] = "nowhere"
    said = console.amphora("push", written(console, document), ADDRESS, *more)
    assert said.status == 3
    assert f"{ADDRESS}: The document cannot be right (invalid_document)" in said.err
    paths = ("listeners[0].port: ", "pools[0].members[0].address: ")
    assert any(path in said.err for path in paths), said.err
    said = console.amphora("revisions", ADDRESS)
    assert "has no load balancers of API 2.0" in said.err


def test_push_holds_only_for_the_revision_that_was_named(console: Console) -> None:
    """Of two who change revision 1, the second is told what is there now, and changes nothing."""
    assert pushed(console, documents.http(ONE), "--revision", "0")["revision"] == 1
    second = pushed(console, documents.http(TWO), "--revision", "1")
    assert second["revision"] == 2
    known = f"2-{second['generation']}"
    file = written(console, documents.http(ONE))
    said = console.amphora("push", file, ADDRESS, "--revision", "1")
    assert said.status == 3
    assert f"the amphora serves revision {known} (put, " in said.err
    assert "but revision 1 was expected" in said.err
    assert f"then push with --revision {known}" in said.err
    said = console.amphora("push", file, ADDRESS, "--revision", "0")
    assert "but no load balancer was expected" in said.err
    said = console.amphora("rollback", ADDRESS, "1", "--revision", "1")
    assert "but revision 1 was expected" in said.err
    # Somebody's revision 2 of before a load balancer was deleted and made again.
    said = console.amphora("push", file, ADDRESS, "--revision", "2-00000000")
    assert "but revision 2-00000000 was expected" in said.err
    assert answers(console) == "two"
    assert pushed(console, documents.http(ONE), "--revision", known)["revision"] == 3


def test_push_for_a_revision_of_nothing_is_told(console: Console) -> None:
    """--revision 7 where there is no load balancer says so, and how to make it."""
    said = console.amphora(
        "push", written(console, documents.http(ONE)), ADDRESS, "--revision", "7"
    )
    assert said.status == 3
    assert f"has no load balancer {LB_ID}, but revision 7 was expected" in said.err
    assert "--revision 0 makes it" in said.err


def test_push_tells_that_a_controller_has_written_since(
    console: Console, controller: Client
) -> None:
    """A revision that API 1.0 has superseded is told as such, with the files; push takes over."""
    made = pushed(console, documents.http(ONE))
    config = listener_config(console.place.base, LB_ID, vip=documents.VIP, ports={"m": 8082})
    path = f"/1.0/loadbalancer/{console.place.amphora_id}/{LB_ID}/haproxy"
    assert controller.request("PUT", path, config).status == 202
    file = written(console, documents.http(ONE))
    for known in ("1", f"1-{made['generation']}"):
        said = console.amphora("push", file, ADDRESS, "--revision", known)
        assert said.status == 3
        assert "is no longer what is served" in said.err
        assert "haproxy.cfg" in said.err
    head, differs = console.amphora("revisions", ADDRESS).out.splitlines()[:2]
    assert head == f"load balancer {LB_ID}: revision 1-{made['generation']}, superseded"
    assert differs.startswith("  differs: ")
    assert pushed(console, documents.http(ONE))["state"] == "active"


def test_rollback_to_what_there_is_not_is_told(console: Console) -> None:
    """An unknown revision and an amphora without load balancers are told apart."""
    said = console.amphora("rollback", ADDRESS, "1")
    assert "has no load balancers of API 2.0" in said.err
    pushed(console, documents.http(ONE))
    said = console.amphora("rollback", ADDRESS, "9")
    assert said.status == 3
    assert "(not_found)" in said.err
    assert answers(console) == "one"
