# SPDX-License-Identifier: Apache-2.0
"""Files and services of a load balancer, as they are and as they are to be."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """What a file holds.

    Attributes:
        mode: permission bits.
        secret: it holds a key: it lies in RAM only and is never shown.
    """

    content: bytes = field(repr=False)
    mode: int
    secret: bool = False

    @property
    def sha256(self) -> str:
        """Of the content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


Files = Mapping[Path, File]


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Which services of a load balancer run.

    Attributes:
        lvs: ids of UDP and SCTP listeners, each of which has a keepalived.
        vrrp: the keepalived that agrees with the other amphora of a pair.
    """

    haproxy: bool = False
    lvs: tuple[str, ...] = ()
    vrrp: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Desired:
    """All that a document asks of the machine."""

    files: Files
    runs: Runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A file that becomes another; None where there is none."""

    path: Path
    before: File | None
    after: File | None


def changes(before: Files, after: Files) -> tuple[Change, ...]:
    """What has to change, writes first, so that nothing that is named is ever missing.

    A file that is `before` and not `after` goes.
    """
    paths = sorted({*before, *after})
    found = [
        Change(path=path, before=before.get(path), after=after.get(path))
        for path in paths
        if not _same(before.get(path), after.get(path))
    ]
    return tuple(sorted(found, key=lambda change: change.after is None))


def differing(wanted: Mapping[Path, str | None], found: Files) -> tuple[Path, ...]:
    """Files whose content is not the one that is wanted.

    Args:
        wanted: SHA-256 by path; None for what is not to be there.
    """
    return tuple(
        path
        for path, sha256 in sorted(wanted.items())
        if (found[path].sha256 if path in found else None) != sha256
    )


def touches(changed: Iterable[Path], *places: Path) -> bool:
    """Whether one of the files is, or lies below, one of the places."""
    return any(path.is_relative_to(place) for path in changed for place in places)


def _same(one: File | None, other: File | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.content, one.mode) == (other.content, other.mode)
