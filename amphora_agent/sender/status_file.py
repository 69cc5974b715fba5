# SPDX-License-Identifier: Apache-2.0
"""How the sender is, as a JSON file for the API's health and metrics.

It lies in the unit's runtime directory, which is memory: a file that changes with every heartbeat
costs the disk nothing, and the last boot's is gone. The fields are described in docs/heartbeat.md.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.sender.journal import Journal
from amphora_agent.sender.transmission import Tally
from amphora_agent.settings_values import Controller
from amphora_agent.system import files

NAME = "status.json"
_VERSION = 1
_MODE = 0o644


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """The last heartbeat that left; `left_out` says what there was no room for."""

    sequence: int
    message_version: int
    controller: str
    bytes: int
    listeners: int
    pools: int
    members: int
    left_out: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How the sender is.

    Attributes:
        silence: why no heartbeat left the last time; "" if one did.
        unreported: sources whose listeners are missing in it.
    """

    amphora_id: str
    interval_s: float
    silence: str
    unreported: tuple[str, ...]
    last: Beat | None
    controllers: Mapping[Controller, Tally]


class StatusFile:
    """The file; does nothing without a directory."""

    def __init__(self, directory: Path | None, journal: Journal) -> None:
        self._path = directory / NAME if directory is not None else None
        self._journal = journal

    def write(self, status: Status) -> None:
        """Replace the file; a failure is said once and stops nothing."""
        if self._path is None:
            return
        try:
            files.write_atomic(self._path, _text(status), mode=_MODE, durable=False)
        except OSError as exc:
            self._journal.trouble("status", f"{self._path} cannot be written", str(exc))
            return
        self._journal.fine("status", f"{self._path} is written again")


def _text(status: Status) -> bytes:
    return json.dumps(
        {
            "version": _VERSION,
            "amphora_id": status.amphora_id,
            "interval_s": status.interval_s,
            "silence": status.silence,
            "unreported": list(status.unreported),
            "last": _fields(status.last) if status.last is not None else None,
            "controllers": {
                str(name): _fields(tally) for name, tally in status.controllers.items()
            },
        }
    ).encode()


def _fields(item: Beat | Tally) -> dict[str, object]:
    # dataclasses.asdict copies every value deeply, which is most of what this file would cost.
    return {name: getattr(item, name) for name in item.__slots__}
