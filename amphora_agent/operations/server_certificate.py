# SPDX-License-Identifier: Apache-2.0
"""The certificate that the API itself serves with."""

import logging

from amphora_agent.errors import AgentError, ConfigError, InvalidRequest
from amphora_agent.operations.context import Context
from amphora_agent.system import files, tls

LOG = logging.getLogger(__name__)


def upload(context: Context, content: bytes) -> None:
    """Check a new server.pem and store it; the next handshake uses it.

    An unusable one would cut the amphora off from its controller for good.

    Raises:
        InvalidRequest: it does not parse, is not valid now, or its key does not match; the old
            one stays.
        AgentError: it could not be written; the old one stays.
    """
    path = context.settings.agent_server_cert
    with context.locks.hold("certificate of the agent"):
        try:
            tls.check_server_certificate(content)
        except ConfigError as exc:
            LOG.warning("A new server certificate is refused: %s", exc)
            raise InvalidRequest(exc.message, exc.details) from exc
        try:
            files.write_atomic(path, content, mode=0o600)
        except OSError as exc:
            raise AgentError(
                "Unable to update the server certificate",
                f"{path} cannot be written: {exc.strerror or exc}",
            ) from exc
    LOG.info("%s is new", path)
