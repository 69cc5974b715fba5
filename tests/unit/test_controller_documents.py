# SPDX-License-Identifier: Apache-2.0
"""Files of load balancers, refusals and bundles, as `amphoractl amphora` reads them."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.balancer.redact import HIDDEN
from amphora_controller.amphora import agent_config, bundle
from amphora_controller.amphora.bundle import Bundle
from amphora_controller.amphora.client import Answer
from amphora_controller.amphora.documents import load
from amphora_controller.amphora.expected import parse
from amphora_controller.amphora.refusals import Refused, expect, expect_2_0
from amphora_controller.errors import ControllerError

LB_ID = "1f4ad7e4-6e4a-4c33-9f6c-0d8a2f4b6f10"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", f'{{"id": "{LB_ID}", "name": "ä"}}'),
        ("a.yaml", f"id: {LB_ID}\nname: ä\n"),
        ("a.yml", f"# a remark\nid: '{LB_ID}'\nname: ä\n"),
    ],
)
def test_document_is_the_same_in_json_and_yaml(tmp_path: Path, name: str, text: str) -> None:
    """Both give the same bytes to send."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = load(path)
    assert found.lb_id == LB_ID
    assert json.loads(found.content) == {"id": LB_ID, "name": "ä"}
    assert "ä" not in repr(found)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b"id: x", "a.json is not JSON"),
        ("a.yaml", b"{", "a.yaml is not YAML"),
        ("a.yaml", b"!!python/object/apply:os.getcwd []", "a.yaml is not YAML"),
        ("a.json", b"\xff", "a.json cannot be read"),
        ("a.json", b"[]", "a.json is no load balancer"),
        ("a.json", b'{"id": 7}', "a.json is no load balancer"),
        ("a.json", b'{"id": "../x"}', "a.json is no load balancer"),
        ("a.yaml", f"id: {LB_ID}\nname: 2026-01-01".encode(), "a.yaml has a value that JSON has"),
        ("a.yaml", f"id: {LB_ID}\nname: .nan".encode(), "a.yaml has a value that JSON has"),
        ("b.json", None, "b.json cannot be read"),
    ],
)
def test_document_that_cannot_be_sent_is_told(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    """What is wrong with a file is said with its name."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ControllerError, match=words):
        load(path)


def answer(status: int, body: bytes, kind: str = "application/json") -> Answer:
    """What an amphora says."""
    return Answer(status=status, headers={"content-type": kind}, body=body)


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        (
            b'{"message": "Invalid", "details": "a\\nb"}',
            "the amphora refuses it: Invalid",
            "a\n  b",
        ),
        (b'{"details": "no NIC"}', "the amphora refuses it: no NIC", ""),
        (b'{"error": "404 Not Found"}', "the amphora refuses it: 404 Not Found", ""),
        (b"<html>", "the amphora refuses it: status 400", "<html>"),
        (b"[1]", "the amphora refuses it: status 400", "[1]"),
    ],
)
def test_refusal_has_the_words_of_every_shape(body: bytes, message: str, hint: str) -> None:
    """Whatever an amphora answers, its words are shown; a wanted status is none."""
    with pytest.raises(Refused) as caught:
        expect(answer(400, body), 200)
    assert (caught.value.message, caught.value.hint, caught.value.code) == (message, hint, "")
    assert expect(answer(400, body), 200, 400).body == body


def test_agent_without_api_2_0_is_told_from_a_thing_that_is_missing() -> None:
    """A 404 of the framework means that there is no such API; one with a code does not."""
    with pytest.raises(ControllerError, match=r"the amphora has no API 2\.0"):
        expect_2_0(answer(404, b'{"error": "404 Not Found: The requested URL"}'), 200)
    problem = b'{"title": "There is no such thing", "code": "not_found"}'
    with pytest.raises(Refused, match="There is no such thing"):
        expect_2_0(answer(404, problem, "application/problem+json"), 200)
    assert expect_2_0(answer(200, b"{}"), 200).status == 200


def test_problem_is_shown_with_paths_step_and_state() -> None:
    """A problem of API 2.0 has its code, each path, the step that failed, and what is as before."""
    problem = {
        "title": "It cannot be right",
        "code": "invalid_document",
        "detail": "two faults",
        "problems": [{"path": "a[0].b", "reason": "no"}, {"path": "c", "reason": "neither"}],
        "step": "reload",
        "restored": True,
    }
    with pytest.raises(Refused) as caught:
        expect(answer(422, json.dumps(problem).encode(), "application/problem+json"), 200)
    assert (caught.value.status, caught.value.code) == (422, "invalid_document")
    assert caught.value.message == "It cannot be right (invalid_document)"
    assert caught.value.hint.split("\n  ") == [
        *("two faults", "a[0].b: no", "c: neither"),
        *("it failed at the step: reload", "all is as it was before"),
    ]


def packed(name: str, content: bytes) -> bytes:
    """A bundle with one text."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def test_bundle_gives_its_texts() -> None:
    """A text is found by its name; one that is not there is told."""
    found = Bundle(amphora_id=LB_ID, packed=packed("amphora/system/journal.txt", b"one\ntwo\n"))
    assert found.text(bundle.JOURNAL) == "one\ntwo\n"
    with pytest.raises(ControllerError, match="has no agent/"):
        found.text(bundle.AGENT_CONFIG)


@pytest.mark.parametrize(
    "damaged",
    [b"", b"no gzip", packed("amphora/x.txt", b"x" * 5000)[:60], gzip.compress(b"no tar" * 200)],
    ids=["empty", "no gzip", "cut short", "no tar"],
)
def test_damaged_bundle_is_told(damaged: bytes) -> None:
    """What is no bundle, or half of one, ends with a message."""
    with pytest.raises(ControllerError, match=r"bundle is damaged|bundle has no"):
        Bundle(amphora_id=LB_ID, packed=damaged).text(bundle.JOURNAL)


@given(
    st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n\r\v\f\x1c\x1d\x1e"))),
    st.integers(1, 5),
)
def test_tail_is_the_end(lines: list[str], count: int) -> None:
    """The last lines come in their order, and no more than there are."""
    text = "".join(f"{line}\n" for line in lines)
    assert bundle.tail(text, count) == "".join(f"{line}\n" for line in lines[-count:])


@given(st.text())
def test_printable_text_moves_no_cursor(text: str) -> None:
    """A log line cannot speak to the terminal."""
    assert all(c.isprintable() or c in "\n\t" for c in bundle.printable(text))
    assert bundle.printable("a\x1b[2Jä\n") == "a\\x1b[2Jä\n"


def test_configuration_with_a_mark_is_refused_by_its_line() -> None:
    """Each line with a mark is named, also in a comment; a text without is let through."""
    text = f"[a]\nx = 1\nheartbeat_key = {HIDDEN}\n# was {HIDDEN}\n"
    with pytest.raises(ControllerError) as caught:
        agent_config.check(text.encode())
    assert caught.value.hint.split("\n  ")[:2] == [
        f"line 3: heartbeat_key = {HIDDEN}",
        f"line 4: # was {HIDDEN}",
    ]
    agent_config.check(text.replace(HIDDEN, "not shown").encode())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0", "no load balancer"),
        ("7", "revision 7"),
        ("7-1b9e04c2", "revision 7-1b9e04c2"),
    ],
)
def test_revision_is_a_number_with_or_without_its_generation(text: str, shown: str) -> None:
    """What a command prints is what another one takes."""
    assert str(parse(text)) == shown


@pytest.mark.parametrize("text", ["", "-1", "seven", "7-", "7-1B9E04C2", "0-1b9e04c2", '7"', "7 "])
def test_revision_that_is_none_is_refused(text: str) -> None:
    """Nothing else gets into a header."""
    with pytest.raises(ControllerError, match="is no revision"):
        parse(text)
