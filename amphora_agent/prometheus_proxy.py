# SPDX-License-Identifier: Apache-2.0
"""Serves haproxy's metrics in Octavia's names to a listener of protocol PROMETHEUS.

Octavia renders the frontend that exports haproxy's metrics and the backend that leads here; both
addresses stand in its configuration. systemd listens in the load balancers' namespace and starts
this program when somebody scrapes, so that nothing of it is there while nobody does.
"""

import os
import sys
from collections.abc import Iterator

from amphora_agent import prometheus
from amphora_agent.errors import AgentError, ConfigError
from amphora_agent.layout import Layout
from amphora_agent.system import activation, exporter
from amphora_agent.system.http_reply import BadQuestionError, Reply
from amphora_agent.system.machine import machine
from amphora_agent.system.proc import read_text

# Octavia's frontend prometheus-exporter-internal-endpoint.
EXPORTER = ("127.0.0.1", 9101)

# Longer than most Prometheus servers wait between two scrapes.
_IDLE_S = 90.0
# Several servers may scrape; the tenant can ask as often as it likes.
_MOST = 4
# Servers give up sooner.
_DEADLINE_S = 60
# Octavia's haproxy waits 5 s for the first byte.
_IPVS_TIMEOUT_S = 4.0


def main() -> int:
    """Serve until nobody has asked for a while."""
    try:
        listener = activation.passed_socket(os.environ)
    except ConfigError as exc:
        print(f"amphora-prometheus: {exc}", file=sys.stderr)
        return 1
    with listener:
        activation.serve(
            listener,
            lambda connection: answer(Reply(connection)),
            idle_s=_IDLE_S,
            most=_MOST,
            deadline_s=_DEADLINE_S,
        )
    return 0


def answer(reply: Reply) -> None:
    """Answer one question, whatever its path is."""
    begun = False
    try:
        reply.read_question()
        for piece in _exposition():
            if not begun:
                reply.begin("text/plain; version=0.0.4")
                begun = True
            reply.send(piece)
        reply.end()
    except BadQuestionError as exc:
        reply.refuse("400 Bad Request", str(exc))
    except AgentError as exc:
        print(exc, file=sys.stderr)
        if not begun:
            reply.refuse("502 Bad Gateway", str(exc))
    except OSError as exc:
        print(f"A scrape broke off: {exc}", file=sys.stderr)


def _exposition() -> Iterator[bytes]:
    yield from prometheus.translate(exporter.metrics(EXPORTER), _of_lvs(Layout()))
    yield prometheus.machine(machine())


def _of_lvs(paths: Layout) -> dict[bytes, bytes]:
    """Metrics of UDP and SCTP listeners; without them, or without IPVS, none."""
    if not any(paths.lvs_dir.glob("*.conf")):
        return {}
    # Most amphorae have no such listener.
    from amphora_agent import lvsconf, lvsmetrics  # noqa: PLC0415
    from amphora_agent.sender.sources import Sources  # noqa: PLC0415
    from amphora_agent.system.ipvs import IpvsTable  # noqa: PLC0415

    texts = {name: read_text(paths.lvs_config(name)) for name in Sources(paths).listeners()}
    # One that is gone was deleted a moment ago.
    configs = {name: lvsconf.parse(text) for name, text in texts.items() if text is not None}
    try:
        # systemd has started this program in the namespace.
        table = IpvsTable(None, timeout_s=_IPVS_TIMEOUT_S).read()
    except AgentError as exc:
        print(f"There are no metrics of UDP and SCTP listeners: {exc}", file=sys.stderr)
        return {}
    return lvsmetrics.samples(configs, table)


if __name__ == "__main__":
    sys.exit(main())
