# SPDX-License-Identifier: Apache-2.0
"""What a haproxy.cfg says, whatever the order and the spelling in which it does not matter.

Two texts that mean the same to haproxy are equal here. The differences between Octavia's texts and
ours that are meant (docs/rendering.md) are each named in `of_octavia`.
"""

import html
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from amphora_agent import haproxycfg
from amphora_agent.haproxycfg import Directive

Words = tuple[str, ...]
# By section: for each keyword of rules those in order, and the rest without order.
Meaning = dict[Words, tuple[dict[str, list[Words]], "Counter[tuple[object, ...]]"]]

# Rules of one keyword are tried one after the other.
_RULES = frozenset(
    {
        "http-request",
        "http-response",
        "tcp-request",
        "redirect",
        "use_backend",
        "stick",
        "http-check",
    }
)
# Options of `bind` and `server` that take a value.
_WITH_VALUE = frozenset(
    {
        *("addr", "alpn", "ca-file", "check-alpn", "ciphers", "ciphersuites", "cookie", "crl-file"),
        *("crt", "crt-list", "fall", "inter", "maxconn", "maxqueue", "port", "proxy-v2-options"),
        *("rise", "slowstart", "sni", "verify", "weight"),
    }
)
_HEADS = {"bind": 2, "server": 3}
_UNITS = {"k": 1024, "m": 1024**2}


def meaning(text: str) -> Meaning:
    """What a text of ours says.

    Raises:
        AssertionError: a section is there twice.
    """
    return _meaning(haproxycfg.sections(text), lambda words: words)


def of_octavia(text: str) -> Meaning:
    """What a text of Octavia's says, with the meant differences made good."""
    return _meaning(haproxycfg.sections(text), _meant)


def _meant(words: Words) -> Words:
    # Octavia escapes for HTML.
    words = tuple(map(html.unescape, words))
    # Codes are alternatives of a regular expression; Octavia's come in no order.
    if words[:3] == ("http-check", "expect", "rstatus"):
        return (*words[:3], "|".join(sorted(words[3].split("|"))))
    # A literal `%` in a redirect is doubled by ours, because haproxy takes the place for a format
    # string; Octavia's text is refused, or says something else.
    if words[0] == "redirect" and words[1] != "scheme":
        return tuple(word.replace("%", "%%") for word in words)
    # Members are checked against the CA: Octavia leaves that to haproxy's default.
    if words[0] == "server" and "ca-file" in words and "crl-file" not in words:
        return (*words, "verify", "required")
    return words


def _meaning(sections: Iterable[haproxycfg.Section], change: Callable[[Words], Words]) -> Meaning:
    found: Meaning = {}
    for section in sections:
        assert section.head is not None, section
        name = section.head.words
        assert name not in found, name
        rules: dict[str, list[Words]] = {}
        rest: Counter[tuple[object, ...]] = Counter()
        for directive in section.body:
            words = change(directive.words)
            if words[0] in _RULES:
                rules.setdefault(words[0], []).append(words)
            else:
                rest[_canonical(words)] += 1
        found[name] = (rules, rest)
    return found


def _canonical(words: Words) -> tuple[object, ...]:
    head = _HEADS.get(words[0])
    if head is not None:
        options = Counter(_options(words[head:]))
        return (*words[:head], frozenset(options.items()))
    if words[0] == "acl":
        # Where a pattern begins with `-`, ours puts `--` before it.
        return tuple(word for word in words if word != "--")
    if words[0] == "stick-table":
        return tuple(_number(word) for word in words)
    return words


def _options(words: Words) -> Iterator[Words]:
    rest = iter(words)
    for word in rest:
        yield (word, next(rest)) if word in _WITH_VALUE else (word,)


def _number(word: str) -> object:
    digits, unit = word[:-1], word[-1:]
    if digits.isdecimal() and unit in _UNITS:
        return int(digits) * _UNITS[unit]
    return int(word) if word.isdecimal() else word


def structure(text: str) -> list[tuple[Words, list[tuple[str, int]]]]:
    """Sections with the keyword and the number of words of each directive, in order."""
    return [
        (_shape(section.head), [(each.name, len(each.words)) for each in section.body])
        for section in haproxycfg.sections(text)
    ]


def _shape(head: Directive | None) -> Words:
    return head.words if head is not None else ()
