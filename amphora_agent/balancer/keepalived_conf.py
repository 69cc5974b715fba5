# SPDX-License-Identifier: Apache-2.0
"""keepalived.conf as a kind of text: words, and files of them.

What a file means is decided by keepalived's lib/parser.c (read in versions 2.2.7 and 2.3.3, which
agree on all of this) more than by keepalived.conf(5):

- Lines are read in pieces of 1,023 bytes: what is longer goes on as a line of its own.
- `!` and `#` start a comment, `{` and `}` a block, but not between double quotes.
- A backslash escapes in some words and not in others, depending on the version.
- `$_PWD` and a few more names are replaced even between double quotes, and cannot be escaped.
- `@`, `$` and `~` mean something more where they begin a line; a word here never begins so.
"""

import re
from functools import cache
from typing import Any
from urllib.parse import quote

import jinja2

from amphora_agent import render
from amphora_agent.balancer.written import Written
from amphora_agent.errors import InvalidRequest

# MAXBUF of lib/parser.h, less the NUL and the line feed.
LINE_MAX_BYTES = 1022

_BARE = re.compile(r"[0-9A-Za-z_./:,%+=-]+")
_QUOTABLE = re.compile(r"[ !#%-\[\]-~]+")
# What a path may hold besides letters, digits and `_.-~`: all of a URL but `$`, and `%`, which is
# taken for an escape that is there already.
_URL_MARKS = "!#%&'()*+,/:;=?@[]^`{|}"


def word(text: str) -> Written:
    """A value as one word, in double quotes where it needs them.

    Raises:
        InvalidRequest: it holds what no quotes keep together.
    """
    if _BARE.fullmatch(text):
        return Written(text)
    if _QUOTABLE.fullmatch(text):
        return Written(f'"{text}"')
    raise InvalidRequest(
        "Invalid value",
        f"{text!r} cannot stand in a configuration of keepalived: it must be of 1 or more "
        'printable ASCII characters other than ", $ and \\',
    )


def bare(text: str) -> Written:
    """A value where quotes would not be taken off: in a comment, or within quotes.

    Raises:
        InvalidRequest: it would need quotes.
    """
    if _BARE.fullmatch(text):
        return Written(text)
    raise InvalidRequest(
        "Invalid value",
        f"{text!r} cannot stand in a comment or a command of keepalived: it must be of 1 or more "
        "letters, digits and _./:,%+=-",
    )


def command(*words: str) -> Written:
    """A program with its arguments, as scripts and checks have it: one word with spaces in it.

    Raises:
        InvalidRequest: a word would need quotes within the quotes.
    """
    return word(" ".join(bare(part) for part in words))


def url_path(path: str) -> str:
    """A path of a URL in which nothing is left that keepalived would replace.

    Servers read `%24` and `$` alike.
    """
    return quote(path, safe=_URL_MARKS)


def seconds(milliseconds: int) -> Written:
    """A time as keepalived takes it; 10 ms are the smallest step of VRRP version 3 (RFC 5798)."""
    return Written(f"{milliseconds / 1000:g}")


def text(template: str, **values: Any) -> str:
    """A file from a template; every string in it becomes a word, and `Written` stays as it is.

    Raises:
        InvalidRequest: a value cannot be a word, or a line would be too long for keepalived.
    """
    rendered = _environment().get_template(template).render(**values)
    for line in rendered.splitlines():
        if len(line.encode()) > LINE_MAX_BYTES:
            raise InvalidRequest(
                "Invalid value",
                f"keepalived takes {LINE_MAX_BYTES} bytes in a line; too long: {line[:80]!r}...",
            )
    return rendered


@cache
def _environment() -> jinja2.Environment:
    made = render.environment().overlay(finalize=_finalize)
    # An overlay shares the filters of what it lies on.
    made.filters = made.filters | {"bare": bare}
    return made


def _finalize(value: Any) -> Any:
    if isinstance(value, Written | int):
        return value
    if isinstance(value, str):
        return word(value)
    # StrictUndefined says by itself what is missing.
    if isinstance(value, jinja2.Undefined):
        return value
    raise TypeError(f"{value!r} is no value of a configuration")
