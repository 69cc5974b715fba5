# SPDX-License-Identifier: Apache-2.0
"""What reading the documents has in common: entries, and the words for what is wrong with them."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from amphora_agent.errors import ParseError

T = TypeVar("T")


def json_object(data: bytes) -> Mapping[str, object]:
    """The object that JSON bytes hold; ParseError if they hold none."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ParseError("it is not JSON", str(exc)) from exc
    return as_object(document)


def as_object(value: object) -> Mapping[str, object]:
    """A mapping without the keys that are no text; ParseError for anything else."""
    if not isinstance(value, dict):
        raise ParseError(f"a mapping of names to values is needed, not {kind(value)}")
    return {key: item for key, item in value.items() if isinstance(key, str)}


def shown(value: object) -> str:
    """A value for a message: short, on one line, and never deeply nested."""
    if value is None or isinstance(value, str | int | float):
        return f"{value!r:.100}"
    return kind(value)


def kind(value: object) -> str:
    """The kind of a value, for a message."""
    return "nothing" if value is None else f"a {type(value).__name__}"


def entries(document: Mapping[str, object], key: str, problems: list[str]) -> list[object]:
    """The list under a key; empty when there is none."""
    value = document.get(key)
    if isinstance(value, list):
        return value
    if value not in (None, ""):
        problems.append(f"{key}: a list is needed, not {kind(value)}")
    return []


def good(
    key: str, entries: list[object], read: Callable[[object], T], problems: list[str]
) -> Iterator[T]:
    """Every entry that can be read; the others become problems."""
    for index, entry in enumerate(entries):
        try:
            yield read(entry)
        except ParseError as exc:
            problems.append(f"{key}[{index}]: {exc}")


def optional(
    read: Callable[[Mapping[str, object]], T | None],
    document: Mapping[str, object],
    problems: list[str],
) -> T | None:
    """A value of the document; one that cannot be read is None and becomes a problem."""
    try:
        return read(document)
    except ParseError as exc:
        problems.append(str(exc))
        return None


def text(fields: Mapping[str, object], key: str) -> str:
    """The text under a key, not empty; ParseError if there is none."""
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise ParseError(f"{key} is missing or not a text")
    return value
