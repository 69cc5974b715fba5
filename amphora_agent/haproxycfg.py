# SPDX-License-Identifier: Apache-2.0
"""haproxy.cfg into sections, directives and words.

Source of the format: HAProxy 2.2 configuration manual, chapter 2.2 "Quoting and escaping", and the
keywords of sections of HAProxy 2.4 to 3.2. Two configurations that parse to the same sections mean
the same to haproxy, however they are written.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.errors import ParseError

SECTIONS = frozenset(
    {
        *("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "mailers"),
        *("userlist", "program", "ring", "log-forward", "log-profile", "fcgi-app", "http-errors"),
        *("cache", "crt-store", "traces", "acme"),
    }
)

# What isspace(3) takes for space; the line ends before a carriage return.
_SPACE = " \t\v\f"
_LINE_END = "\r"
# After a backslash these stand for themselves, also between weak quotes.
_SELF_ESCAPES = " \\#'\""
_CONTROL_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_SPECIAL = re.compile(r"""[\\'"#\r\0]""")
_PLAIN_WORD = re.compile(r"[^ \t\v\f]+")
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, kw_only=True, slots=True)
class Directive:
    """A line that says something.

    Attributes:
        words: without quotes and escapes; at least one.
        line: its number in the text, from 1; two that differ in it only are equal.
        literal: nothing in it is left to the environment of haproxy. Where it is, the variable
            stands in the word as it is written.
    """

    words: tuple[str, ...]
    literal: bool = True
    line: int = 0

    def __eq__(self, other: object) -> bool:
        """Whether it says the same, wherever it stands."""
        if not isinstance(other, Directive):
            return NotImplemented
        return (self.words, self.literal) == (other.words, other.literal)

    def __hash__(self) -> int:
        """Of what it says."""
        return hash((self.words, self.literal))

    @property
    def name(self) -> str:
        """The keyword."""
        return self.words[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A section and what stands in it.

    Attributes:
        head: the directive that opens it; None before the first section, where haproxy takes
            conditions only.
    """

    head: Directive | None
    body: tuple[Directive, ...]

    @property
    def kind(self) -> str:
        """The keyword, for example `backend`."""
        return self.head.name if self.head else ""

    @property
    def name(self) -> str:
        """What it is called; empty where it has no name."""
        return self.head.words[1] if self.head and len(self.head.words) > 1 else ""


Memo = dict[str, tuple[tuple[str, ...], bool]]


def sections(text: str, memo: Memo | None = None) -> tuple[Section, ...]:
    """The sections of a configuration, in the order of the text.

    Args:
        memo: lines that were taken apart already, for several texts that share most of them.

    Raises:
        ParseError: a quote is not closed, an escape is incomplete, or there is a NUL; haproxy
            refuses it, too.
    """
    found: list[Section] = []
    head: Directive | None = None
    body: list[Directive] = []
    for directive in directives(text, memo):
        if directive.name in SECTIONS:
            if head or body:
                found.append(Section(head=head, body=tuple(body)))
            head, body = directive, []
        else:
            body.append(directive)
    if head or body:
        found.append(Section(head=head, body=tuple(body)))
    return tuple(found)


def directives(text: str, memo: Memo | None = None) -> Iterator[Directive]:
    """The lines that say something, those that open sections among them.

    Args:
        memo: see `sections`.

    Raises:
        ParseError: see `sections`.
    """
    memo = {} if memo is None else memo
    # Only a line feed ends a line of haproxy's, unlike one of str.splitlines.
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            words, literal = memo[line] if line in memo else memo.setdefault(line, split(line))
        except ParseError as exc:
            raise ParseError(f"line {number} of the configuration: {exc.message}", line) from exc
        if words:
            yield Directive(words=words, literal=literal, line=number)


def split(line: str) -> tuple[tuple[str, ...], bool]:
    """The words of one line, and whether none of them is left to the environment.

    Raises:
        ParseError: see `sections`.
    """
    # Most lines have neither quotes nor escapes nor comments.
    if _SPECIAL.search(line) is None:
        return tuple(_PLAIN_WORD.findall(line)), True
    return _Splitter(line).split()


def quote(word: str) -> str:
    """A word as it is written in a configuration; `split` gives it back.

    Raises:
        ParseError: it has a NUL, which no configuration can hold.
    """
    if "\0" in word:
        raise ParseError("a NUL", word)
    if word and not any(letter in word for letter in f"{_SPACE}\n\r\\#'\""):
        return word
    # Strong quotes take all but themselves and what ends a line.
    for letter, escape in (("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
        word = word.replace(letter, f"'{escape}'")
    return f"'{word}'"


class _Splitter:
    """Takes one line apart, letter by letter."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._at = 0
        self._quote = ""
        self._word: list[str] | None = None
        self._words: list[str] = []
        self._literal = True

    def split(self) -> tuple[tuple[str, ...], bool]:
        """See the function."""
        while self._at < len(self._line) and self._step():
            pass
        if self._quote:
            raise ParseError("a quote is not closed")
        self._end_word()
        return tuple(self._words), self._literal

    def _step(self) -> bool:
        """Take a letter or an escape; False at the end of what is said."""
        letter = self._line[self._at]
        if letter == "\0":
            raise ParseError("a NUL")
        if letter in _LINE_END or (letter == "#" and not self._quote):
            return False
        if letter == self._quote or (letter in "'\"" and not self._quote):
            self._quote = "" if self._quote else letter
            # Quotes with nothing in them make an empty word.
            self._add("")
        elif letter == "\\" and self._quote != "'":
            self._escape()
        elif letter in _SPACE and not self._quote:
            self._end_word()
        else:
            if letter == "$" and self._quote == '"':
                self._literal = False
            self._add(letter)
        self._at += 1
        return True

    def _escape(self) -> None:
        following = self._line[self._at + 1 : self._at + 2]
        if following == "x":
            digits = self._line[self._at + 2 : self._at + 4]
            if len(digits) != 2 or not _HEXADECIMAL.issuperset(digits):
                raise ParseError("\\x without two hexadecimal digits after it")
            if digits == "00":
                raise ParseError("a NUL")
            self._add(chr(int(digits, 16)))
            self._at += 3
            return
        if following and following in _SELF_ESCAPES:
            self._add(following)
        elif following in _CONTROL_ESCAPES:
            self._add(_CONTROL_ESCAPES[following])
        elif following == "$" and self._quote:
            self._add(following)
        else:
            # A backslash that escapes nothing is a letter.
            self._add("\\")
            return
        self._at += 1

    def _add(self, letters: str) -> None:
        if self._word is None:
            self._word = []
        self._word.append(letters)

    def _end_word(self) -> None:
        if self._word is not None:
            self._words.append("".join(self._word))
            self._word = None
