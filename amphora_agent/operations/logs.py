# SPDX-License-Identifier: Apache-2.0
"""What became of the log offload that the controller asks for."""

import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec

from amphora_agent import layout

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Offload:
    """What the program amphora-log-offload found before rsyslog started.

    Attributes:
        state: `off`, `on` or `set aside`.
        messages: what was repaired, or why it is set aside.
    """

    state: str = "off"
    messages: tuple[str, ...] = ()

    @property
    def is_set_aside(self) -> bool:
        """Whether an offload was asked for and there is none."""
        return self.state == "set aside"


def offload(path: Path = layout.LOG_OFFLOAD_STATE) -> Offload:
    """What there is now; without a file nothing was asked for."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Offload)
    except FileNotFoundError:
        return Offload()
    except (OSError, msgspec.DecodeError) as exc:
        LOG.warning("%s cannot be read: %s", path, exc)
        return Offload(state="set aside", messages=(f"{path} cannot be read",))
