# SPDX-License-Identifier: Apache-2.0
"""amphora-agent.conf of a running amphora, read and written.

API 1.0 has no way to read it, so it is read out of the support bundle, where secrets are cut out.
Such a text must not be sent back: the mark would become the key of heartbeats, and the controllers
would replace an amphora whose heartbeats they cannot verify.
"""

from amphora_agent.balancer.redact import HIDDEN
from amphora_controller.amphora import bundle
from amphora_controller.amphora.client import Amphora
from amphora_controller.amphora.refusals import expect
from amphora_controller.errors import ControllerError

_PATH = "/1.0/config"


def read(amphora: Amphora) -> str:
    """The file as it lies in the amphora, with a mark in the place of each secret.

    Raises:
        ControllerError: it is not to be had.
    """
    return bundle.fetch(amphora).text(bundle.AGENT_CONFIG)


def write(amphora: Amphora, content: bytes) -> None:
    """Send a whole file; what is live in it takes effect at once, the rest at the next start.

    Raises:
        ControllerError: a mark stands in it, so nothing was sent; or the amphora refuses it, and
            keeps the one that it has.
    """
    check(content)
    expect(amphora.request("PUT", _PATH, content), 202)


def check(content: bytes) -> None:
    """See that no secret is missing.

    Raises:
        ControllerError: a mark stands in it; its lines are named.
    """
    marked = [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1)
        if HIDDEN in line
    ]
    if marked:
        source = "put the value in; heartbeat_key is that of [health_manager] in octavia.conf"
        raise ControllerError(
            f"{HIDDEN} stands where a secret belongs; nothing was sent",
            "\n  ".join([*marked, source]),
        )
