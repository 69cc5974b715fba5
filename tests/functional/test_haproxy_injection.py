# SPDX-License-Identifier: Apache-2.0
"""No value of a document says more to haproxy than it should.

Every field that holds text is tried with hostile values. Those that decoding does not refuse are
rendered, many in one document, and the text must have the sections, directives and words of the
document as it was.
"""

import json
import random
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from amphora_agent import haproxycfg
from amphora_agent.balancer import haproxy, values
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.haproxy import Host
from amphora_agent.balancer.values import CipherList, Value
from amphora_agent.layout import Layout
from tests.functional.test_haproxy_parity import Place, decode, place
from tests.support.haproxy_documents import Maker

__all__ = ["place"]

_VALUES = 200_000
_FRAGMENTS = (
    *(" ", "\t", "\n", "\r", "\r\n", "\0", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\xa0"),
    *("'", '"', "\\", "\\\n", "\\n", "\\x0a", "#", "$", "${HOME}", "$HOME", "%", "%[env(PATH)]"),
    *(
        "%{+Q}r",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ",",
        ";",
        "|",
        "&",
        "!",
        "~",
        "`",
        "<",
        ">",
        "=",
        ":",
    ),
    *("-i", "-f", "--", "-m", " if ", " unless ", "or", "@", "*", "/", "..", "é", "\U0001f600"),
    *(
        "\nbackend x\n",
        "\n    server x 1.2.3.4:1\n",
        "global",
        "' server x",
        '" acl',
        "a",
        "B",
        "7",
    ),
)

Path = tuple[str | int, ...]


class Hostile:
    """Makes hostile values, and counts them."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.tried = 0
        self.refused = 0

    def some(self, kind: Any, *, tries: int = 2) -> Value | str | None:
        """A value that a field of this kind takes; None if it took none of some.

        Args:
            kind: what the field is declared as.
        """
        for _ in range(tries):
            text = "".join(self._dice.choices(_FRAGMENTS, k=self._dice.randint(1, 6)))
            self.tried += 1
            try:
                taken: Value | str = msgspec.convert(text, kind, dec_hook=values.decode)
            except msgspec.ValidationError:
                self.refused += 1
                continue
            return taken
        return None


def text_fields(part: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every text in a part of a document, with what its field is declared as."""
    if not isinstance(part, Struct):
        return
    hints = typing.get_type_hints(type(part), include_extras=True)
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if type(value) is str or isinstance(value, Value):
            yield (*path, name), hints[name]
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Value):
                    yield (*path, name, index), type(item)
                yield from text_fields(item, (*path, name, index))
        else:
            yield from text_fields(value, (*path, name))


def replaced(part: Any, path: Path, value: object) -> Any:
    """The part with another value at a path."""
    first, *rest = path
    if isinstance(first, int):
        inner = replaced(part[first], tuple(rest), value) if rest else value
        return (*part[:first], inner, *part[first + 1 :])
    inner = replaced(getattr(part, first), tuple(rest), value) if rest else value
    return msgspec.structs.replace(part, **{first: inner})


def structure(text: str) -> list[tuple[str, ...]]:
    """Sections and directives by keyword, each with the number of its words.

    `--` before the pattern of an ACL does not count, nor do words for ciphers, whose number depends
    on which versions of TLS they are for.
    """
    found: list[tuple[str, ...]] = []
    for section in haproxycfg.sections(text):
        assert section.head is not None
        found.append((section.kind,))
        for directive in section.body:
            assert directive.literal, directive
            words = list(directive.words)
            if directive.name == "acl" and words[-2] == "--":
                del words[-2]
            for option in ("ciphers", "ciphersuites"):
                if option in words:
                    at = words.index(option)
                    del words[at : at + 2]
            found.append((directive.name, str(len(words))))
    return found


def test_no_hostile_value_says_more_than_it_should() -> None:
    """Of over 200,000 hostile values in all fields, none adds a section, a directive or a word."""
    dice = random.Random(20_261_127)
    hostile = Hostile(dice)
    maker = Maker(seed=3, beyond=True)
    host = Host(layout=Layout())
    rendered = 0
    kinds: set[str] = set()
    while hostile.tried < _VALUES:
        document: LoadBalancer = decode(maker.document())
        changed = document
        for path, kind in text_fields(document):
            value = hostile.some(kind)
            if value is not None:
                changed = replaced(changed, path, value)
                kinds.add(str(path[-1] if isinstance(path[-1], str) else path[-2]))
                rendered += 1
        text = haproxy.config(changed, host)
        assert structure(text) == structure(haproxy.config(document, host)), repr(changed)
        for directive in haproxycfg.directives(text):
            if directive.name == "redirect" and directive.words[1] != "scheme":
                assert "%" not in "".join(directive.words).replace("%%", "")
    # Values that are taken come out somewhere; what a name or an id may be is narrow.
    assert {"value", "redirect_url", "redirect_prefix", "url_path"} <= kinds
    assert rendered > 2000
    assert hostile.refused > _VALUES // 2


def test_structure_sees_an_injection() -> None:
    """A text into which a value was put as it is has another structure."""
    good = "backend a\n    server b 192.0.2.1:1 weight 1\n"
    for value in ("1\n    server x 192.0.2.2:1", "1 disabled", "1\nbackend x", "1 # "):
        hurt = good.replace("weight 1", f"weight {value} check")
        assert structure(hurt) != structure(good.replace("weight 1", "weight 1 check"))


def test_haproxy_takes_hostile_values_for_what_they_are(place: Place) -> None:
    """The real haproxy refuses no document for the texts in it: each is one word to it."""
    dice = random.Random(5)
    hostile = Hostile(dice)
    maker = Maker(seed=11)
    for _ in range(40):
        part = maker.document()
        for listener in part["listeners"]:
            for policy in listener.get("policies", []):
                # An expression may be refused for itself, and a number must be one.
                policy["rules"] = [
                    rule | {"compare_type": "CONTAINS"}
                    for rule in policy["rules"]
                    if rule["type"] != "SSL_VERIFY_RESULT"
                ]
        if not part["listeners"]:
            continue
        document = decode(part)
        for path, kind in text_fields(document):
            # haproxy knows ciphers by name, and certificates are files.
            if kind is CipherList or {"certificates", "tls", "id"} & set(path):
                continue
            if (value := hostile.some(kind, tries=40)) is not None:
                document = replaced(document, path, value)
        place.check(document)


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "", "a\u2028b", "x" * 1025])
def test_text_that_no_line_can_hold_is_refused(text: str) -> None:
    """Decoding refuses what would end a line somewhere, or is too long for one."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(text), type=values.Text, dec_hook=values.decode)
