# SPDX-License-Identifier: Apache-2.0
"""haproxy.cfg of documents that nobody checked: what is rendered holds without the checks."""

import random
from typing import Any

import pytest

from amphora_agent import haproxycfg
from amphora_agent.balancer import haproxy
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.haproxy import Host
from amphora_agent.errors import ParseError
from amphora_agent.layout import Layout
from tests.functional.test_haproxy_injection import Path, replaced, structure, texts
from tests.functional.test_haproxy_parity import decode
from tests.support.haproxy_documents import Maker

_VALUES = 200_000
_PARTS = (
    *(" ", "\t", "\n", "\r\n", "\v", "\f", "\0", "'", '"', "\\", "\\\n", "\\x0a", "#", "$HOME"),
    *('"${HOME}"', "%[env(HOME)]", "%%", "(", ")", ",", "|", "!", "{", "}", "--", "-f", "\u2028"),
    *("\nbackend x\n", "\n    server x 192.0.2.1:1", "' disabled", '" if TRUE', "global", "a", "7"),
)
# Pools are found by these, codes are numbers, and a network that is `--` would be a flag of an ACL:
# only its check keeps that out.
_KEPT = frozenset({"default_pool", "redirect_pool", "expected_codes", "allowed_cidrs"})


def rendered_texts(document: LoadBalancer) -> list[Path]:
    """Where the texts stand that come out, less those that the renderer looks things up by."""
    found: list[Path] = []
    for path in (text.path for text in texts(document)):
        if _KEPT & set(path) or (path[0] == "pools" and len(path) == 3):
            continue
        if path[0] in ("id", "project_id", "amphorae", "listeners", "pools"):
            found.append(path)
    return found


def at(part: Any, path: Path) -> Any:
    """What stands at a path."""
    for step in path:
        part = part[step] if isinstance(step, int) else getattr(part, step)
    return part


def poisoned(dice: random.Random, document: LoadBalancer, paths: list[Path]) -> LoadBalancer:
    """A copy with hostile values at all paths."""
    for path in paths:
        text = "".join(dice.choices(_PARTS, k=dice.randint(1, 6)))
        # A NUL is refused, and with it all that is in the document.
        text = text.replace("\0", "") if dice.random() < 0.99 else text
        document = replaced(document, path, type(at(document, path))(text))
    return document


@pytest.mark.slow
def test_values_past_every_check_add_nothing() -> None:
    """Of 200,000 hostile values that no check saw, each stays the word that it is."""
    dice = random.Random(20_261_128)
    maker = Maker(seed=4, beyond=True)
    host = Host(layout=Layout())
    rendered = refused = 0
    while rendered < _VALUES:
        document = decode(maker.document())
        paths = rendered_texts(document)
        changed = poisoned(dice, document, paths)
        try:
            text = haproxy.config(changed, host)
        except ParseError:
            refused += 1
            continue
        assert structure(text) == structure(haproxy.config(document, host)), repr(changed)
        rendered += len(paths)
    assert refused


def test_words_without_quotes_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where values are rendered as they are, no text keeps its structure."""
    dice = random.Random(1)
    maker = Maker(seed=4, beyond=True)
    host = Host(layout=Layout())
    made = [decode(maker.document()) for _ in range(30)]
    # One that is off has hardly a text in it.
    documents = [document for document in made if document.enabled]
    assert len(documents) > 20
    expected = [structure(haproxy.config(document, host)) for document in documents]
    changed = [poisoned(dice, each, rendered_texts(each)) for each in documents]
    monkeypatch.setattr(haproxycfg, "quote", str)
    kept = 0
    for document, good in zip(changed, expected, strict=True):
        try:
            kept += structure(haproxy.config(document, host)) == good
        except (AssertionError, ParseError):
            continue
    assert kept == 0
