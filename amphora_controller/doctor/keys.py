# SPDX-License-Identifier: Apache-2.0
"""The heartbeat key, and what becomes of it on its way into an amphora.

Octavia writes the key of its own octavia.conf into that of the amphora through a template that
escapes for HTML, once or, with user data, twice. There oslo.config reads it again: `$$` is a `$`,
and quotes around it go.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from markupsafe import escape

_UNSET = "None"


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A key that an amphora may have in place of the right one.

    Attributes:
        name: how it came to be, after "signed with"; empty for the right one.
    """

    name: str
    key: str = field(repr=False)


def variants(key: str, written: str) -> tuple[Variant, ...]:
    """The right key and what it may have turned into, each once.

    Args:
        key: as oslo.config reads it.
        written: as it stands in octavia.conf.
    """
    found: dict[str, Variant] = {}
    for variant in _all(key, written):
        found.setdefault(variant.key, variant)
    return tuple(found.values())


def _all(key: str, written: str) -> Iterator[Variant]:
    once = str(escape(key))
    yield Variant(name="", key=key)
    yield Variant(name="the key escaped for HTML", key=once)
    yield Variant(name="the key escaped for HTML twice", key=str(escape(once)))
    yield Variant(name="the key as it stands in octavia.conf, `$$` not read as `$`", key=written)
    yield Variant(name="the key with `$$` read as `$` once more", key=key.replace("$$", "$"))
    if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'":
        yield Variant(name="the key without its quotes", key=key[1:-1])
    for quote in "\"'":
        yield Variant(name="the key with quotes around it", key=f"{quote}{key}{quote}")
    yield Variant(name="the key of an octavia.conf without heartbeat_key", key=_UNSET)
