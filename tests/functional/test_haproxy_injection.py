# SPDX-License-Identifier: Apache-2.0
"""No value of a document says more to haproxy than it should.

Every field that holds text is tried with hostile values, as many as every other. Those that
decoding does not refuse are rendered, many in one document, and the text must have the sections,
directives and words of the document as it was.
"""

import json
import random
import typing
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
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
from tests.support.haproxy_documents import Maker, Part

__all__ = ["place"]

_VALUES = 200_000
# Of a field in one document.
_TRIES = 20
_UDP_POOL = "00000000-1111-4111-8111-111111111111"
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text in a document.

    Attributes:
        kind: what its field is declared as.
        field: the kind of part and the name in it, for example `Rule.value`.
    """

    path: Path
    kind: Any
    field: str


class Hostile:
    """Makes hostile values, and counts them by field."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.tried: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()

    def some(self, text: Text, *, tries: int) -> Value | str | None:
        """A value that the field takes; None if it took none of some."""
        for _ in range(tries):
            value = "".join(self._dice.choices(_FRAGMENTS, k=self._dice.randint(1, 6)))
            self.tried[text.field] += 1
            try:
                found: Value | str = msgspec.convert(value, text.kind, dec_hook=values.decode)
            except msgspec.ValidationError:
                continue
            self.taken[text.field] += 1
            return found
        return None


def declared(kind: type[Struct]) -> set[str]:
    """Every field of text in a kind of part, and in the parts that it has."""
    found = set()
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        for leaf in _leaves(hint):
            if issubclass(leaf, Struct):
                found |= declared(leaf)
            elif leaf is str or issubclass(leaf, Value):
                found.add(f"{kind.__name__}.{name}")
    return found


def _leaves(hint: Any) -> Iterator[type]:
    """The classes in a type hint."""
    inner = typing.get_args(hint)
    if not inner and isinstance(hint, type):
        yield hint
    for each in inner:
        yield from _leaves(each)


def texts(part: Any, path: Path = ()) -> Iterator[Text]:
    """Every text in a part of a document."""
    if not isinstance(part, Struct):
        return
    hints = typing.get_type_hints(type(part), include_extras=True)
    for name in part.__struct_fields__:
        value = getattr(part, name)
        field = f"{type(part).__name__}.{name}"
        if type(value) is str or isinstance(value, Value):
            yield Text(path=(*path, name), kind=hints[name], field=field)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Value):
                    yield Text(path=(*path, name, index), kind=type(item), field=field)
                yield from texts(item, (*path, name, index))
        else:
            yield from texts(value, (*path, name))


def whole(part: Part) -> Part:
    """A document with text in fields that haproxy has nothing to do with, too."""
    part["vip"]["gateway"] = part["vip"]["address"]
    part["vip"]["host_routes"] = [
        {"destination": part["vip"]["subnet"], "nexthop": part["vip"]["address"]}
    ]
    for certificate in part["certificates"]:
        certificate["sha256"] = "0" * 64
    if "vrrp" in part:
        part["vrrp"] = {"authentication": "secret"}
    persistence = {"type": "SOURCE_IP", "granularity": "255.255.255.0"}
    udp = {"id": _UDP_POOL, "protocol": "UDP", "session_persistence": persistence}
    part["pools"].append(udp)
    return part


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
    """Of over 200,000 hostile values, as many in each field, none adds a section or a word."""
    hostile = Hostile(random.Random(20_261_127))
    maker = Maker(seed=3, beyond=True)
    host = Host(layout=Layout())
    fields = declared(LoadBalancer)
    each = -(-_VALUES // len(fields))
    while any(hostile.tried[field] < each for field in fields):
        document: LoadBalancer = decode(whole(maker.document()))
        changed = document
        for text in texts(document):
            tries = min(_TRIES, each - hostile.tried[text.field])
            if (value := hostile.some(text, tries=tries)) is not None:
                changed = replaced(changed, text.path, value)
        if changed is document:
            continue
        config = haproxy.config(changed, host)
        assert structure(config) == structure(haproxy.config(document, host)), repr(changed)
        for directive in haproxycfg.directives(config):
            if directive.name == "redirect" and directive.words[1] != "scheme":
                assert "%" not in "".join(directive.words).replace("%%", "")
    print(f"{len(fields)} fields, taken: {dict(hostile.taken)}")
    assert hostile.tried == dict.fromkeys(fields, each)
    # Values that are taken come out somewhere; what a name or an id may be is narrow.
    free = {"Rule.value", "Policy.redirect_url", "Policy.redirect_prefix", "HealthMonitor.url_path"}
    assert all(hostile.taken[field] > each / 20 for field in free)
    assert hostile.taken.total() < _VALUES / 2


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
        for text in texts(document):
            # haproxy knows ciphers by name, and certificates are files.
            if text.kind is CipherList or {"certificates", "tls", "id"} & set(text.path):
                continue
            if (value := hostile.some(text, tries=40)) is not None:
                document = replaced(document, text.path, value)
        place.check(document)


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "", "a\u2028b", "x" * 1025])
def test_text_that_no_line_can_hold_is_refused(text: str) -> None:
    """Decoding refuses what would end a line somewhere, or is too long for one."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(text), type=values.Text, dec_hook=values.decode)
