# SPDX-License-Identifier: Apache-2.0
"""Faults of a document, found in its parts and told with their places in the whole."""

from collections.abc import Iterable, Iterator

# Where, within the part that was looked at, and what is wrong.
Fault = tuple[str, str]


def at(place: str, faults: Iterable[Fault]) -> Iterator[Fault]:
    """The same faults, seen from outside the part that lies at a place."""
    for path, reason in faults:
        yield f"{place}.{path}" if path else place, reason
