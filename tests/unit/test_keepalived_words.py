# SPDX-License-Identifier: Apache-2.0
"""Values in configurations of keepalived that try to be more than one word."""

import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amphora_agent.balancer import keepalived, keepalived_conf, lvs
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.values import Value
from amphora_agent.errors import InvalidRequest
from amphora_agent.layout import Layout
from tests.support import keepalived_parser
from tests.support.keepalived_documents import Maker, decode
from tests.support.keepalived_parser import ConfigError, Node
from tests.support.keepalived_samples import balancer


@pytest.mark.parametrize("value", ["", 'a"b', "a\\", "a$b", "a\nb", "é", "a\0"])
def test_word_that_no_quotes_hold_together_is_refused(value: str) -> None:
    """The error shows the value."""
    with pytest.raises(InvalidRequest) as caught:
        keepalived_conf.word(value)
    assert repr(value) in caught.value.details


def test_command_with_a_word_in_quotes_is_refused(tmp_path: Path) -> None:
    """A directory with a space in it is named in the error instead of becoming two arguments."""
    document = balancer(type="UDP-CONNECT")
    layout = Layout(base=tmp_path / "a b")
    with pytest.raises(InvalidRequest) as caught:
        lvs.config(document, document.listeners[0], layout)
    assert "a b" in caught.value.details


# What ends a word, a line, a block or a comment somewhere, and what is replaced or left out.
HOSTILE = (
    *('"', "'", "\\", "#", "!", "{", "}", "$", "@", "~", " ", "\t", "\n", "\r", "\r\n", "\0"),
    *("${_PWD}", "$_RANDOM", "~SEQ(x,1,9)", "@^x ", "$X=\\", "include /etc/passwd", "\\\n", "\x85"),
    *(
        "}\n}\nvrrp_script x {\n script /bin/sh\n}",
        '" misc_path "/bin/sh',
        "\u2028",
        "{}",
        "a" * 1020,
    ),
)


def hostile(dice: random.Random) -> str:
    """A value that somebody made up to be more than one."""
    parts = [
        dice.choice(HOSTILE) if dice.random() < 0.5 else dice.choice(string.ascii_letters)
        for _ in range(dice.randrange(1, 6))
    ]
    return "".join(parts)


# Blocks of addresses, whose lines begin with a value.
_LISTS = {
    *("virtual_ipaddress", "virtual_ipaddress_excluded", "unicast_peer", "virtual_routes"),
    "virtual_server_group",
}


def shape(nodes: tuple[Node, ...]) -> list[Any]:
    """What there is without its values: keywords, how many words follow, what is in the block.

    Of a list, whose order follows from the values, only how many lines have how many words.
    """
    found: list[Any] = []
    for node in nodes:
        inside: list[Any] | None = None
        if node.words[0] in _LISTS:
            inside = sorted(len(child.words) for child in node.children or ())
        elif node.children is not None:
            inside = shape(node.children)
        found.append((node.words[0], len(node.words), inside))
    return found


def shapes(document: LoadBalancer) -> list[Any]:
    """The shapes of a document's files and of their comments; None for one that is refused."""
    found: list[Any] = []
    for render in renderers(document):
        try:
            text = render()
        except (InvalidRequest, KeyError, ValueError):
            found.append(None)
        else:
            said = [len(line.split()) for line in keepalived_parser.comments(text)]
            found.append((shape(keepalived_parser.parse(text)), said))
    return found


def poisoned(part: Any, value: str, places: list[int]) -> Any:
    """A copy with another string at one place, past every check of what may stand there.

    Args:
        places: one number, which is counted down; the string where it becomes 0 is replaced.
    """
    if isinstance(part, msgspec.Struct):
        fields = {
            name: poisoned(getattr(part, name), value, places) for name in part.__struct_fields__
        }
        return type(part)(**fields)
    if isinstance(part, tuple):
        return tuple(poisoned(item, value, places) for item in part)
    # Enumerations are what they are; only text can be anything.
    if isinstance(part, Value) or type(part) is str:
        places[0] -= 1
        if places[0] == 0:
            return type(part)(value)
    return part


def count_strings(part: Any) -> int:
    """How many places there are."""
    places = [0]
    poisoned(part, "", places)
    return -places[0]


def renderers(document: LoadBalancer) -> list[Callable[[], str]]:
    """What renders each file of a document."""
    return [
        lambda: keepalived.config(document, document.amphorae[0].id, "eth1", Layout()),
        lambda: lvs.config(document, document.listeners[0], Layout()),
    ]


@pytest.mark.slow
def test_hostile_values_never_add_a_block_or_a_line() -> None:
    """Of 50,000 hostile values in all strings of documents, each is refused or stays one word."""
    dice = random.Random(20_261_127)
    maker = Maker(seed=9, beyond=True)
    tried = stayed = refused = 0
    while tried < 50_000:
        document = decode(maker.document())
        if len(document.amphorae) < 2:
            continue
        for place in range(1, count_strings(document) + 1):
            # No address and no code either, but nothing that could be more than a word.
            expected = shapes(poisoned(document, "a", [place]))
            for _ in range(10):
                tried += 1
                value = hostile(dice)
                found = shapes(poisoned(document, value, [place]))
                for one, other in zip(found, expected, strict=True):
                    assert one is None or one == other, repr(value)
                    stayed += one is not None
                    refused += one is None
    assert stayed > 10_000
    assert refused > 10_000


@pytest.mark.parametrize(
    "value",
    ["/\nretry 1", "/ a", "/}\n}\nurl {\n path /", '/"', "/${_PWD}", "/" + "a" * 1200],
)
def test_comparison_sees_a_value_that_is_more_than_one_word(value: str) -> None:
    """A text that holds a hostile value as it is has another shape, or none."""
    document = balancer(type="HTTP", url_path="/here")
    text = lvs.config(document, document.listeners[0], Layout())
    assert text.count("path /here\n") == 2
    changed = text.replace("path /here\n", f"path {value}\n")
    try:
        nodes = keepalived_parser.parse(changed)
    except ConfigError:
        return
    assert shape(nodes) != shape(keepalived_parser.parse(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a {\n", "does not end"),
        ("a\n}\n", "did not begin"),
        ("{\n}\n", "without a line"),
        ('path "/a\n', "quote does not end"),
        ("path ${_PWD}\n", "is replaced"),
        ("@x path\n", "conditional"),
        ("$x=1\n", "definition"),
    ],
)
def test_parser_of_the_tests_sees_what_goes_wrong(text: str, told: str) -> None:
    """The parser that judges above refuses what keepalived would refuse or change."""
    with pytest.raises(ConfigError, match=told):
        keepalived_parser.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('path "/a # b {c}" d', [("path", "/a # b {c}", "d")]),
        ("path a#b", [("path", "a")]),
        ('path a"b c"d', [("path", "a", "b c", "d")]),
        ("path a\\#b ! c", [("path", "a#b")]),
        ("  a\tb  ", [("a", "b")]),
    ],
)
def test_parser_of_the_tests_reads_words(text: str, words: list[tuple[str, ...]]) -> None:
    """Quotes, comments and escapes are those of keepalived."""
    assert [node.words for node in keepalived_parser.parse(text)] == words
