# SPDX-License-Identifier: Apache-2.0
"""The real amphora driver of Octavia, driven by JSON lines.

Started as `python -m tests.support.octavia_peer --config-file octavia.conf` by the interpreter of
Octavia's virtual environment. A request is {"id", "operation", "arguments"}; its answer is
{"id", "result"} or {"id", "error": {"type", "message"}}. Every HTTP exchange with the amphora is
reported when it happens, as {"exchange": {...}}, so that tests see retries too.
"""
# Octavia and what it brings are not installed where types are checked.
# mypy: disable-error-code="import-not-found,import-untyped,misc"

import base64
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import requests
from octavia.amphorae.backends.agent import agent_jinja_cfg
from octavia.amphorae.backends.health_daemon import status_message
from octavia.amphorae.drivers.haproxy import rest_api_driver
from octavia.common import config
from octavia.common.jinja import user_data_jinja_cfg
from octavia.common.jinja.logging import logging_jinja_cfg

from tests.support import octavia_models as models
from tests.support.octavia_models import Description

LOG = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], None]


class RecordingSession(requests.Session):
    """A session that reports each exchange, answered or not."""

    def __init__(self, report: Send) -> None:
        super().__init__()
        self._report = report

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send one request and report what came of it."""
        record: dict[str, Any] = {"method": request.method, "path": request.path_url}
        begin = time.monotonic()
        try:
            response = super().send(request, **options)
        except requests.RequestException as exc:
            record["failure"] = f"{type(exc).__name__}: {exc}"
            raise
        else:
            record |= {"status": response.status_code, "body": response.text}
            return response
        finally:
            record["elapsed_s"] = time.monotonic() - begin
            self._report({"exchange": record})


class Controller:
    """The parts of an Octavia controller that talk to an amphora.

    Every public method is an operation; its arguments and its result are JSON.
    """

    def __init__(self, report: Send) -> None:
        self._driver = rest_api_driver.HaproxyAmphoraLoadBalancerDriver()
        for client in self._driver.clients.values():
            recording = RecordingSession(report)
            recording.cert = client.session.cert
            recording.mount("https://", client.ssl_adapter)
            client.session = recording

    def boot_files(self, amphora_id: str, topology: str) -> Description:
        """What Octavia renders for the config drive of a new amphora."""
        agent = agent_jinja_cfg.AgentJinjaTemplater().build_agent_config(amphora_id, topology)
        rsyslog = logging_jinja_cfg.LoggingJinjaTemplater().build_logging_config()
        user_data = user_data_jinja_cfg.UserDataJinjaCfg().build_user_data_config({})
        return {"agent": agent, "rsyslog": rsyslog, "user_data": user_data}

    def version(self, amphora: Description) -> str:
        """The API version that the amphora names."""
        found = models.amphora(amphora)
        self._driver.check(found)
        return str(found.api_version)

    def info(self, amphora: Description) -> Description:
        """GET info, as after the boot of an amphora."""
        return dict(self._driver.get_info(models.amphora(amphora)))

    def post_vip_plug(self, load_balancer: Description, port: Description) -> None:
        """Tell the amphora about the VIP's port."""
        balancer = models.load_balancer(load_balancer)
        self._driver.post_vip_plug(
            balancer.amphorae[0], balancer, None, models.vrrp_port(port), models.vip_subnet(port),
            additional_vip_data=[],
        )  # fmt: skip

    def post_network_plug(self, load_balancer: Description, port: Description) -> None:
        """Tell the amphora about a port of a member network."""
        balancer = models.load_balancer(load_balancer)
        self._driver.post_network_plug(
            balancer.amphorae[0], models.member_port(port), models.network_config(port)
        )

    def set_interface_rules(self, amphora: Description, address: str, rules: list[Any]) -> None:
        """Replace the firewall of an SR-IOV port."""
        self._driver.set_interface_rules(models.amphora(amphora), address, rules)

    def update_vrrp_conf(self, load_balancer: Description, port: Description) -> None:
        """Render and upload the VRRP configuration."""
        balancer = models.load_balancer(load_balancer)
        host = balancer.amphorae[0]
        networks = {host.id: models.network_config(port)}
        self._driver.update_vrrp_conf(balancer, networks, host)

    def start_vrrp_service(self, amphora: Description) -> None:
        """Start keepalived for VRRP."""
        self._driver.start_vrrp_service(models.amphora(amphora))

    def stop_vrrp_service(self, amphora: Description) -> None:
        """Stop keepalived for VRRP, as for an amphora in status ERROR."""
        self._driver.stop_vrrp_service_on_amphora(models.amphora(amphora))

    def reload_vrrp_service(self, load_balancer: Description) -> None:
        """Reload keepalived for VRRP."""
        self._driver.reload_vrrp_service(models.load_balancer(load_balancer))

    def reload(self, load_balancer: Description) -> None:
        """Reload everything that serves the load balancer."""
        self._driver.reload(models.load_balancer(load_balancer))

    def start(self, load_balancer: Description) -> None:
        """Start everything that serves the load balancer."""
        self._driver.start(models.load_balancer(load_balancer))

    def get_interface_from_ip(self, amphora: Description, address: str) -> str:
        """Name of the interface that bears an address."""
        return str(self._driver.get_interface_from_ip(models.amphora(amphora), address))

    def update_amphora_listeners(self, load_balancer: Description) -> None:
        """Render the whole configuration, upload and activate it."""
        balancer = models.load_balancer(load_balancer)
        self._driver.update_amphora_listeners(balancer, balancer.amphorae[0])

    def delete_listener(self, load_balancer: Description, listener_id: str) -> None:
        """Delete one listener of the load balancer."""
        balancer = models.load_balancer(load_balancer)
        [listener] = [item for item in balancer.listeners if item.id == listener_id]
        self._driver.delete(listener)

    def upload_cert_amp(self, amphora: Description, pem: str) -> None:
        """Rotate the amphora's own certificate."""
        self._driver.upload_cert_amp(models.amphora(amphora), pem.encode())

    def update_agent_config(self, amphora: Description, text: str) -> None:
        """Replace the amphora's agent configuration."""
        self._driver.update_amphora_agent_config(models.amphora(amphora), text)

    def client_call(self, amphora: Description, method: str, arguments: list[Any]) -> Any:
        """Call one method of the low-level client, for requests that no driver call ends in."""
        found = models.amphora(amphora)
        self._driver.check(found)
        answer = getattr(self._driver.clients[found.api_version], method)(found, *arguments)
        return None if isinstance(answer, requests.Response) else answer

    def unwrap_envelope(self, datagram: str, key: str) -> Description:
        """Verify and decode a heartbeat, given in base64."""
        return dict(status_message.unwrap_envelope(base64.b64decode(datagram), key))


def answer(controller: Controller, request: dict[str, Any]) -> dict[str, Any]:
    """Run one request; whatever it raises is its answer."""
    operation = getattr(controller, request["operation"])
    try:
        return {"id": request["id"], "result": operation(**request["arguments"])}
    except Exception as exc:
        LOG.exception("%s failed", request["operation"])
        return {
            "id": request["id"],
            "error": {"type": type(exc).__name__, "message": str(exc)},
        }


def main(arguments: list[str]) -> int:
    """Serve requests from standard input until it ends."""
    answers = _private_stdout()

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    config.init(arguments)
    controller = Controller(send)
    for line in sys.stdin:
        send(answer(controller, json.loads(line)))
    return 0


def _private_stdout() -> TextIO:
    """Keep standard output for answers; whatever a library prints goes to standard error."""
    private = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return private


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
