# SPDX-License-Identifier: Apache-2.0
"""keepalived.conf as keepalived reads it: blocks of words.

Made after lib/parser.c of keepalived 2.2.7 and 2.3.3, so that a value that ends a line, a word or a
block there does so here. Where words are read a second time (`misc_path`, `script`), the caller
does that.
"""

import re
from dataclasses import dataclass

# MAXBUF of lib/parser.h, less the NUL: what is longer is read as another line.
_PIECE_BYTES = 1023
# Definitions that are there always (set_std_definitions).
_DEFINED = re.compile(r"\$\{?_(PWD|INSTANCE|RANDOM|HASH|BANG)")
_BLANK = " \t"
# Most lines have none of these.
_MARKS = re.compile(r"[\"#!\\]")
_BRACES = re.compile(r"[{}]")


class ConfigError(ValueError):
    """keepalived would complain, or what it would do depends on more than the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A line.

    Attributes:
        children: the lines of its block, if it has one.
    """

    words: tuple[str, ...]
    children: "tuple[Node, ...] | None" = None

    def find(self, *words: str) -> "tuple[Node, ...]":
        """Lines of the block that begin so."""
        return find(self.children or (), *words)


def find(nodes: tuple[Node, ...], *words: str) -> tuple[Node, ...]:
    """Lines that begin so."""
    return tuple(node for node in nodes if node.words[: len(words)] == words)


def parse(text: str) -> tuple[Node, ...]:
    """The lines of a file.

    Raises:
        ConfigError: blocks or quotes do not end, or a line is conditional or a definition.
    """
    # Blocks that are open, innermost last, each with the line that it belongs to.
    stack: list[list[Node]] = [[]]
    heads: list[tuple[str, ...]] = []
    for piece in _pieces(text):
        if piece == "{":
            if not stack[-1] or stack[-1][-1].children is not None:
                raise ConfigError("a block without a line before it")
            heads.append(stack[-1].pop().words)
            stack.append([])
        elif piece == "}":
            if not heads:
                raise ConfigError("a block ends that did not begin")
            children = tuple(stack.pop())
            stack[-1].append(Node(words=heads.pop(), children=children))
        elif words := _words(piece):
            stack[-1].append(Node(words=words))
    if heads:
        raise ConfigError(f"the block of {heads[-1]} does not end")
    return tuple(stack[0])


def comments(text: str) -> list[str]:
    """Whole lines that are comments, without the mark."""
    lines = (line.strip() for line in text.splitlines())
    return [line[1:].strip() for line in lines if line.startswith("#")]


def _pieces(text: str) -> list[str]:
    """Lines without comments; braces out of quotes stand alone."""
    pieces = []
    for line in text.encode().split(b"\n"):
        for begin in range(0, max(len(line), 1), _PIECE_BYTES):
            piece = line[begin : begin + _PIECE_BYTES].decode(errors="replace")
            clean = _without_comment(piece.rstrip("\r"))
            if clean.startswith(("@", "~")):
                raise ConfigError(f"conditional: {clean!r}")
            if _DEFINED.search(clean):
                raise ConfigError(f"a definition is replaced: {clean!r}")
            if clean.startswith("$") and "=" in clean:
                raise ConfigError(f"a definition: {clean!r}")
            pieces += _without_braces(clean)
    return pieces


def _without_comment(line: str) -> str:
    """What `decomment` leaves."""
    if not _MARKS.search(line):
        return line.strip(_BLANK)
    kept = ""
    quoted = False
    rest = iter(line.lstrip(_BLANK))
    for mark in rest:
        if mark == "\\":
            following = next(rest, None)
            if following is None:
                raise ConfigError("a line goes on")
            kept += following if not quoted and following in "#!" else mark + following
            continue
        if mark in "#!" and not quoted:
            break
        quoted ^= mark == '"'
        kept += mark
    if quoted:
        raise ConfigError(f"a quote does not end: {line!r}")
    return kept.rstrip(_BLANK)


def _without_braces(line: str) -> list[str]:
    if not _BRACES.search(line):
        return [line] if line else []
    pieces = []
    begin, quoted = 0, False
    for index, mark in enumerate(line):
        quoted ^= mark == '"'
        if mark in "{}" and not quoted:
            pieces += [line[begin:index].strip(_BLANK), mark]
            begin = index + 1
    pieces.append(line[begin:].strip(_BLANK))
    return [piece for piece in pieces if piece]


def _words(line: str) -> tuple[str, ...]:
    """What `alloc_strvec` makes of a line: a double quote begins and ends a word wherever it is."""
    if '"' not in line:
        return tuple(line.split())
    words = []
    rest = line.lstrip(_BLANK)
    while rest:
        if rest.startswith('"'):
            # Whether it ends, `_without_comment` has seen.
            word, _, rest = rest[1:].partition('"')
        else:
            end = next((i for i, mark in enumerate(rest) if mark in '" \t'), len(rest))
            word, rest = rest[:end], rest[end:]
        words.append(word)
        rest = rest.lstrip(_BLANK)
    return tuple(words)
