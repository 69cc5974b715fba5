# SPDX-License-Identifier: Apache-2.0
"""The key of heartbeats, from where it is."""

from pathlib import Path

from amphora_controller import oslo_conf
from amphora_controller.errors import ControllerError


def from_file(path: Path) -> str:
    """The whole of a file, less a line's end.

    Raises:
        ControllerError: it cannot be read, or is empty.
    """
    if key := _text(path).strip("\r\n"):
        return key
    raise ControllerError(f"{path} is empty", "the heartbeat key belongs there")


def from_octavia_conf(path: Path) -> str:
    """[health_manager] heartbeat_key of octavia.conf.

    Raises:
        ControllerError: it cannot be read, or has none.
    """
    options = oslo_conf.parse(_text(path), str(path)).get("health_manager", {})
    name = "[health_manager] heartbeat_key"
    if key := oslo_conf.resolved(f"{path}: {name}", options.get("heartbeat_key", "")):
        return key
    raise ControllerError(f"{path} has no {name}", "--key-file FILE gives it otherwise")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ControllerError(
            f"{path} cannot be read", f"{exc}; --key-file or --octavia-conf names another file"
        ) from exc
