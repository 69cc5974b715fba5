# SPDX-License-Identifier: Apache-2.0
"""The test's side of the Octavia peer: starts it in a namespace and calls its operations."""

import base64
import configparser
import json
import os
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tests.support import need, waiting
from tests.support.balancer import Amphora, LoadBalancer, MemberPort, VipPort, as_json
from tests.support.netns import Namespace
from tests.support.pki import Pki

PYTHON_VARIABLE = "AMPHORA_OCTAVIA_PYTHON"

_REPOSITORY = Path(__file__).resolve().parents[2]
# Longer than the driver needs for all its retries, see write_config.
_CALL_DEADLINE_S = 240
_STOP_DEADLINE_S = 30


class OctaviaError(RuntimeError):
    """An operation of the driver raised; `kind` is the class name of what it raised."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """One HTTP request of the driver and what came of it.

    Attributes:
        path: as on the wire, for example "//" for version discovery.
        status: None when no answer came; `failure` then says why.
    """

    method: str
    path: str
    elapsed_s: float
    status: int | None = None
    body: str = ""
    failure: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class BootFiles:
    """What Octavia renders for a new amphora."""

    agent: str
    rsyslog: str
    user_data: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ControllerConfig:
    """The part of octavia.conf that concerns amphorae.

    Attributes:
        directory: for octavia.conf, logs and the certificate store.
        retry_interval_s, retries: lowered from 5 s and 120, or one wrong answer costs ten minutes.
        haproxy_amphora, amphora_agent: more options of the sections of these names.
    """

    directory: Path
    pki: Pki
    heartbeat_key: str
    heartbeat_targets: tuple[tuple[IPv4Address, int], ...]
    heartbeat_interval_s: int = 2
    retry_interval_s: int = 1
    retries: int = 60
    haproxy_amphora: Mapping[str, str] = field(default_factory=dict)
    amphora_agent: Mapping[str, str] = field(default_factory=dict)

    def store_certificate(self, certificate: bytes, key: bytes) -> uuid.UUID:
        """Put a certificate into the store of the controller; the reference that names it."""
        reference = uuid.uuid4()
        for suffix, content in (("crt", certificate), ("key", key)):
            (self.directory / f"{reference}.{suffix}").write_bytes(content)
        return reference


class Octavia:
    """A running peer. Calls are answered one after the other, in the order in which they came."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._calls: dict[int, Future[Any]] = {}
        self._exchanges: list[Exchange] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def exchanges(self) -> list[Exchange]:
        """Every HTTP exchange so far, oldest first."""
        return list(self._exchanges)

    def wait_for_exchange(self, status: int, *, after: int, deadline_s: float) -> Exchange:
        """Wait for an answer with `status` among the exchanges numbered `after` and later."""

        def probe() -> Exchange | None:
            found = [item for item in self._exchanges[after:] if item.status == status]
            return found[0] if found else None

        return waiting.until(f"status {status}", probe, deadline_s=deadline_s, every_s=0.05)

    def boot_files(self, amphora_id: uuid.UUID, topology: str = "SINGLE") -> BootFiles:
        """Render what a new amphora is given."""
        return BootFiles(
            **self._result("boot_files", amphora_id=str(amphora_id), topology=topology)
        )

    def version(self, amphora: Amphora) -> str:
        """The API version that the amphora names."""
        return str(self._result("version", amphora=as_json(amphora)))

    def info(self, amphora: Amphora) -> dict[str, Any]:
        """GET info."""
        return dict(self._result("info", amphora=as_json(amphora)))

    def post_vip_plug(self, balancer: LoadBalancer, port: VipPort) -> Future[Any]:
        """Begin to plug the VIP; the driver retries until the NIC is there."""
        return self._call("post_vip_plug", load_balancer=as_json(balancer), port=as_json(port))

    def post_network_plug(self, balancer: LoadBalancer, port: MemberPort) -> Future[Any]:
        """Begin to plug a port of a member network; the driver retries until the NIC is there."""
        return self._call("post_network_plug", load_balancer=as_json(balancer), port=as_json(port))

    def set_rules(
        self, amphora: Amphora, address: IPv4Address, rules: Sequence[Mapping[str, object]]
    ) -> None:
        """Replace the firewall of an SR-IOV port."""
        self._result(
            "set_interface_rules",
            amphora=as_json(amphora),
            address=str(address),
            rules=[dict(rule) for rule in rules],
        )

    def upload_vrrp(self, balancer: LoadBalancer, port: VipPort) -> None:
        """Upload the VRRP configuration."""
        self._result("update_vrrp_conf", load_balancer=as_json(balancer), port=as_json(port))

    def start_vrrp(self, amphora: Amphora) -> None:
        """Start keepalived for VRRP."""
        self._result("start_vrrp_service", amphora=as_json(amphora))

    def stop_vrrp(self, amphora: Amphora) -> None:
        """Stop keepalived for VRRP."""
        self._result("stop_vrrp_service", amphora=as_json(amphora))

    def reload_vrrp(self, balancer: LoadBalancer) -> None:
        """Reload keepalived for VRRP."""
        self._result("reload_vrrp_service", load_balancer=as_json(balancer))

    def reload(self, balancer: LoadBalancer) -> None:
        """Reload everything that serves the load balancer."""
        self._result("reload", load_balancer=as_json(balancer))

    def start(self, balancer: LoadBalancer) -> None:
        """Start everything that serves the load balancer."""
        self._result("start", load_balancer=as_json(balancer))

    def interface(self, amphora: Amphora, address: IPv4Address) -> str:
        """Name of the interface that bears `address`."""
        return str(
            self._result("get_interface_from_ip", amphora=as_json(amphora), address=str(address))
        )

    def update(self, balancer: LoadBalancer) -> None:
        """Push all listeners."""
        self._result("update_amphora_listeners", load_balancer=as_json(balancer))

    def delete(self, balancer: LoadBalancer, listener_id: uuid.UUID) -> None:
        """Delete one listener."""
        self._result(
            "delete_listener", load_balancer=as_json(balancer), listener_id=str(listener_id)
        )

    def rotate_certificate(self, amphora: Amphora, pem: bytes) -> None:
        """Give the amphora a new server.pem."""
        self._result("upload_cert_amp", amphora=as_json(amphora), pem=pem.decode())

    def update_agent_config(self, amphora: Amphora, text: str) -> None:
        """Give the amphora a new amphora-agent.conf."""
        self._result("update_agent_config", amphora=as_json(amphora), text=text)

    def client(self, amphora: Amphora, method: str, *arguments: object) -> Any:
        """Call a method of the driver's low-level client, for example `get_details`."""
        return self._result(
            "client_call", amphora=as_json(amphora), method=method, arguments=list(arguments)
        )

    def unwrap_envelope(self, datagram: bytes, key: str) -> dict[str, Any]:
        """Open a heartbeat as the health manager does."""
        encoded = base64.b64encode(datagram).decode()
        return dict(self._result("unwrap_envelope", datagram=encoded, key=key))

    def stop(self) -> None:
        """End the peer; unanswered calls fail."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _result(self, operation: str, **arguments: object) -> Any:
        return self._call(operation, **arguments).result(timeout=_CALL_DEADLINE_S)

    def _call(self, operation: str, **arguments: object) -> Future[Any]:
        future: Future[Any] = Future()
        number = len(self._calls)
        self._calls[number] = future
        assert self._process.stdin is not None
        line = json.dumps({"id": number, "operation": operation, "arguments": arguments})
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return future

    def _read(self) -> None:
        """Sort the peer's lines into exchanges and answers, until it closes its output."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "exchange" in message:
                self._exchanges.append(Exchange(**message["exchange"]))
            elif "error" in message:
                error = OctaviaError(message["error"]["type"], message["error"]["message"])
                self._calls[message["id"]].set_exception(error)
            else:
                self._calls[message["id"]].set_result(message["result"])
        ended = OctaviaError("PeerEnded", "the Octavia peer ended, octavia.log says why")
        for future in self._calls.values():
            if not future.done():
                future.set_exception(ended)


@contextmanager
def octavia(config: ControllerConfig, inside: Namespace) -> Iterator[Octavia]:
    """Start the peer in a namespace, and end it."""
    path = write_config(config)
    with (config.directory / "octavia.log").open("wb") as log:
        process = subprocess.Popen(
            inside.command(
                interpreter(), "-m", "tests.support.octavia_peer", "--config-file", str(path)
            ),
            cwd=_REPOSITORY,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    peer = Octavia(process)
    try:
        yield peer
    finally:
        peer.stop()


def interpreter() -> str:
    """The Python of Octavia's virtual environment; missing, the test skips or fails."""
    path = os.environ.get(PYTHON_VARIABLE)
    if not path or not Path(path).exists():
        need.missing(f"{PYTHON_VARIABLE} names no interpreter with Octavia; ./test.sh makes one")
    return path


def write_config(config: ControllerConfig) -> Path:
    """Write octavia.conf."""
    targets = ", ".join(f"{address}:{port}" for address, port in config.heartbeat_targets)
    text = configparser.ConfigParser(interpolation=None)
    text["controller_worker"] = {"client_ca": str(config.pki.client_chain)}
    text["haproxy_amphora"] = {
        "client_cert": str(config.pki.controller),
        "server_ca": str(config.pki.server_chain),
        "connection_max_retries": str(config.retries),
        "connection_retry_interval": str(config.retry_interval_s),
        **config.haproxy_amphora,
    }
    text["amphora_agent"] = dict(config.amphora_agent)
    text["health_manager"] = {
        "heartbeat_key": config.heartbeat_key,
        "heartbeat_interval": str(config.heartbeat_interval_s),
        "controller_ip_port_list": targets,
    }
    text["certificates"] = {
        "cert_manager": "local_cert_manager",
        "storage_path": str(config.directory),
    }
    path = config.directory / "octavia.conf"
    with path.open("w") as stream:
        text.write(stream)
    return path


def _environment() -> dict[str, str]:
    """Nothing of the test run's own interpreter; warnings of Octavia's libraries are its own."""
    return {"PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore", "LC_ALL": "C.UTF-8"}
