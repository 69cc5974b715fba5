# SPDX-License-Identifier: Apache-2.0
"""What the heartbeat sender, a process of its own, says of itself."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from amphora_agent import layout

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Heartbeats to one controller since the sender started.

    Attributes:
        last_sent_s: seconds since 1970; None when none has left.
    """

    sent: int = 0
    failed: int = 0
    last_sent_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeats:
    """How the sender is.

    Attributes:
        controllers: by `address:port`.
        silence: why no heartbeat left the last time; empty when one did.
    """

    controllers: Mapping[str, Tally] = field(default_factory=dict)
    silence: str = ""


def heartbeats(path: Path = layout.HEARTBEAT_STATUS) -> Heartbeats | None:
    """What the sender wrote last; None when there is nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Heartbeats)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as exc:
        LOG.warning("%s cannot be read: %s", path, exc)
        return None
