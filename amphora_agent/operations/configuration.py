# SPDX-License-Identifier: Apache-2.0
"""The agent's own configuration, as the controller sends it to a running amphora."""

import logging
from pathlib import Path

from amphora_agent import settings
from amphora_agent.errors import AgentError, ConfigError, InvalidRequest
from amphora_agent.operations.context import Context
from amphora_agent.settings import PLACES, Settings

LOG = logging.getLogger(__name__)

_REFUSED = "Invalid configuration"


def upload(context: Context, content: bytes) -> None:
    """Check a new amphora-agent.conf, store it and let its live values take effect.

    What is not live (see `settings.PLACES`) takes effect at the next start, which the log says.
    The heartbeat sender, a process of its own, sees by itself that the file has changed.

    Raises:
        InvalidRequest: it is wrong, or would cut the amphora off; the old one stays.
        AgentError: it could not be written; the old one stays.
    """
    with context.locks.hold("configuration of the agent"):
        path = context.store.path
        try:
            loaded = settings.parse_bytes(content, source=str(path))
            _check(context.settings, loaded, path)
        except ConfigError as exc:
            LOG.warning("A new configuration is refused: %s", exc)
            raise InvalidRequest(_REFUSED, str(exc)) from exc
        try:
            context.store.write(content)
        except OSError as exc:
            raise AgentError(
                "Unable to update amphora-agent configuration.",
                f"{path} cannot be written: {exc.strerror or exc}",
            ) from exc


def _check(current: Settings, loaded: Settings, path: Path) -> None:
    """Refuse what is well-formed, but would make the controller lose the amphora.

    Raises:
        ConfigError: this is so.
    """
    if loaded.amphora_id != current.amphora_id:
        # A controller deletes the machine of a heartbeat's id when it has deleted that amphora.
        raise ConfigError(
            f"{path}: {PLACES['amphora_id']} = {loaded.amphora_id!r} is another amphora's",
            f"right would be {current.amphora_id}, the id that this amphora was made with",
        )
    if loaded.bad_controllers:
        raise ConfigError(
            f"{path}: {PLACES['controllers']} has {', '.join(map(repr, loaded.bad_controllers))}",
            "right would be ip:port or [ipv6]:port, separated by commas",
        )
    _check_heartbeat(current, loaded, path)
    for name in ("agent_server_cert", "agent_server_ca", "haproxy_cmd"):
        file: Path = getattr(loaded, name)
        if file != getattr(current, name) and not file.is_file():
            raise ConfigError(
                f"{path}: {PLACES[name]} = {str(file)!r} does not exist in this amphora",
                f"right would be the path of a file, such as now, {getattr(current, name)}",
            )


def _check_heartbeat(current: Settings, loaded: Settings, path: Path) -> None:
    """Refuse to end heartbeats that are being sent: the controller would replace the amphora."""
    if not current.controllers or current.heartbeat_key is None:
        return
    for name, missing in (
        ("controllers", not loaded.controllers),
        ("heartbeat_key", loaded.heartbeat_key is None),
    ):
        if missing:
            raise ConfigError(
                f"{path}: {PLACES[name]} is not set, so no heartbeat could be sent",
                "the controller would replace this amphora; set it in the controller's"
                " octavia.conf, too",
            )
