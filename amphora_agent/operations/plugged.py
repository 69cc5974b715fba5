# SPDX-License-Identifier: Apache-2.0
"""What was plugged, as the interface files tell it."""

import logging

from amphora_agent import validate
from amphora_agent.errors import InvalidRequest
from amphora_agent.layout import VIP_INTERFACE
from amphora_agent.models import NetworkPlug
from amphora_agent.operations.context import Context

LOG = logging.getLogger(__name__)


def vip_nic(context: Context) -> NetworkPlug | None:
    """What was plugged on the VIP's NIC; None when nothing was, or the file does not tell."""
    path = context.settings.layout.interface_file(VIP_INTERFACE)
    try:
        return validate.interface_plug(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, InvalidRequest) as exc:
        LOG.warning("What was plugged before is not known: %s: %s", path, exc)
        return None
