# SPDX-License-Identifier: Apache-2.0
"""haproxy.cfg as a kind of text: words, lines and files of them.

Three rules keep a value what it is. A word is quoted so that it can end neither itself nor its
line (`haproxycfg.quote`). In a format string (HAProxy configuration manual, 8.2.6 "Custom log
format") `%` begins an expression, so that there it is doubled. A pattern of an ACL (manual, 7.1)
that begins with `-` would be a flag, so that it comes after `--`.
"""

from functools import cache
from typing import Any

import jinja2

from amphora_agent import haproxycfg, render
from amphora_agent.balancer.written import Written


def line(*words: str | int) -> Written:
    """Words with spaces between them."""
    return Written(" ".join(str(word(each)) for each in words))


def word(value: str | int) -> str | int:
    """A value as one word, quoted where it needs that."""
    if isinstance(value, Written | int):
        return value
    return haproxycfg.quote(value)


def literal(text: str) -> str:
    """Text that is to come out of a format string as it is."""
    return text.replace("%", "%%")


def pattern(text: str) -> tuple[str, ...]:
    """The words that make a text a pattern of an ACL, and never a flag."""
    return ("--", text) if text.startswith("-") else (text,)


def text(template: str, **values: Any) -> str:
    """A file from a template; every value in it becomes a word, and `Written` stays as it is."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    return render.environment().overlay(finalize=_finalize)


def _finalize(value: Any) -> Any:
    if isinstance(value, str | int):
        return word(value)
    # StrictUndefined says by itself what is missing.
    if isinstance(value, jinja2.Undefined):
        return value
    raise TypeError(f"{value!r} is no value of a configuration")
