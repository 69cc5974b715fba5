# SPDX-License-Identifier: Apache-2.0
"""The Octavia peer, tried on a stand-in for an amphora: real TLS, scripted answers."""

import json
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from tests.support import need, pki
from tests.support.balancer import Amphora, Listener, LoadBalancer, Member, Pool, VipPort
from tests.support.mutual_tls import Client, RefusedError
from tests.support.netns import Namespace, namespace
from tests.support.octavia_driver import ControllerConfig, Octavia, OctaviaError, octavia

pytestmark = pytest.mark.netns

LOOPBACK = IPv4Address("127.0.0.1")
NIC_MISSING = (404, {"details": "No suitable network interface found"})
OK = {"message": "OK"}

# Contract 2.1: a heartbeat that Octavia's own sender made, with the key `insecure`.
VECTOR = bytes.fromhex(
    "78da9d8fc10ec2200c865f65e12c09db8892ddbdea2e3ec0c6485cdc86021a938577b765347af63f7cf46fdae667"
    "65e3c09a8275655fe97a905c80b8442884f8aa64bb8279f380f1fd01ca69f4c12cc67968acaccce20912a1c892d2"
    "a00f5d78e20e3bb7c753ba099ded4878c323a0e5a8d076597cae830dbfd6b89445c418c1ddad9db62355164f9008"
    "4596d4fc11f7d262d8d9cc3dfdb9cee20912a1c8927073b185be1a7d635bd49771d0ade30737655c39"
) + (b"6345eebffd4ac506090a9f4bfd45aa5b577cc070350535409dd2e6c57ff75457")


@dataclass(kw_only=True)
class StandIn:
    """Answers that a stand-in for an amphora gives, and what it was sent.

    Attributes:
        plug: answers to POST plug/vip, used up one by one.
        haproxy: status of an upload of haproxy.cfg.
    """

    plug: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    haproxy: int = 202
    uploaded: str = ""

    def answer(self, method: str, path: str, body: str) -> tuple[int, dict[str, str]]:
        if path == "//":
            return 200, {"api_version": "1.0"}
        if path == "/1.0/info":
            return 200, {"haproxy_version": "3.0.11-1"}
        if path.startswith("/1.0/plug/vip/"):
            return self.plug.pop(0)
        if path.startswith("/1.0/interface/"):
            return 404, {"message": "Error interface not found for IP address"}
        if method == "PUT" and path.endswith("/haproxy"):
            self.uploaded = body
            return self.haproxy, OK
        return 200, OK


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A controller and a stand-in that it can reach."""

    peer: Octavia
    amphora: StandIn
    balancer: LoadBalancer
    pki: pki.Pki
    inside: Namespace

    def lines(self) -> list[str]:
        """The exchanges so far, one line each."""
        amphora_id, balancer_id = str(self.balancer.amphora.id), str(self.balancer.id)
        return [
            f"{item.method} {item.path} {item.status}".replace(amphora_id, "AMPHORA").replace(
                balancer_id, "LB"
            )
            for item in self.peer.exchanges()
        ]


@contextmanager
def serving(stand_in: StandIn, certificate: Path, trust: Path, inside: Namespace) -> Iterator[None]:
    """Serve the stand-in on port 9443 of a namespace, to clients with a certificate only."""

    class Handler(BaseHTTPRequestHandler):
        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = stand_in.answer(self.command, self.requestline.split()[1],
                                              body.decode())  # fmt: skip
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_any

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Refused clients are part of these tests."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(trust)
    context.verify_mode = ssl.CERT_REQUIRED
    with inside.entered():
        server = Server(("0.0.0.0", 9443), Handler)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    need.root()
    need.programs("ip")
    directory = tmp_path_factory.mktemp("octavia")
    made = pki.create(directory)
    host = Amphora(management_address=LOOPBACK, vrrp_address=IPv4Address("198.51.100.6"))
    pool = Pool(members=(Member(address=IPv4Address("198.51.100.11"), port=80),))
    balancer = LoadBalancer(
        vip=IPv4Address("198.51.100.5"), amphora=host, listeners=(Listener(port=80, pool=pool),)
    )
    certificate = directory / "server.pem"
    certificate.write_bytes(made.amphora_pem(host.id))
    config = ControllerConfig(
        directory=directory,
        pki=made,
        heartbeat_key="insecure",
        heartbeat_targets=((LOOPBACK, 5555),),
        retries=3,
    )
    stand_in = StandIn()
    with ExitStack() as stack:
        inside = stack.enter_context(namespace("peer"))
        stack.enter_context(serving(stand_in, certificate, made.client_chain, inside))
        peer = stack.enter_context(octavia(config, inside))
        yield Deployment(peer=peer, amphora=stand_in, balancer=balancer, pki=made, inside=inside)


def test_version_discovery_has_two_slashes(deployment: Deployment) -> None:
    """Octavia asks for the API version with GET // and nothing else."""
    before = len(deployment.lines())
    assert deployment.peer.version(deployment.balancer.amphora) == "1.0"
    assert deployment.lines()[before:] == ["GET // 200"]


def test_update_follows_the_order_of_the_controller(deployment: Deployment) -> None:
    """A push is: version, info, details, upload, reload; what is uploaded names VIP and member."""
    before = len(deployment.lines())
    deployment.peer.update(deployment.balancer)
    assert deployment.lines()[before:] == [
        "GET // 200",
        "GET /1.0/info 200",
        "GET /1.0/details 200",
        "PUT /1.0/loadbalancer/AMPHORA/LB/haproxy 202",
        "PUT /1.0/loadbalancer/LB/reload 200",
    ]
    assert "bind 198.51.100.5:80" in deployment.amphora.uploaded
    assert "198.51.100.11:80" in deployment.amphora.uploaded


def test_last_listener_is_deleted_by_load_balancer_id(deployment: Deployment) -> None:
    """Deleting the only listener of a load balancer is one DELETE with the load balancer's id."""
    before = len(deployment.lines())
    deployment.peer.delete(deployment.balancer, deployment.balancer.listeners[0].id)
    assert deployment.lines()[before:] == ["GET // 200", "DELETE /1.0/listeners/LB 200"]


def test_plug_is_repeated_until_the_nic_is_there(deployment: Deployment) -> None:
    """The driver repeats a plug after the 404 about a missing NIC, and both answers are seen."""
    deployment.amphora.plug = [NIC_MISSING, (202, OK)]
    before = len(deployment.peer.exchanges())
    port = VipPort(
        mac="fa:16:3e:00:00:02", subnet=IPv4Network("198.51.100.0/24"), gateway=None, mtu=1450
    )
    call = deployment.peer.post_vip_plug(deployment.balancer, port)
    missing = deployment.peer.wait_for_exchange(404, after=before, deadline_s=10)
    assert "No suitable network interface found" in missing.body
    assert call.result(timeout=10) is None
    assert deployment.lines()[before:] == [
        "GET // 200",
        "POST /1.0/plug/vip/198.51.100.5 404",
        "POST /1.0/plug/vip/198.51.100.5 202",
    ]


def test_refusal_of_the_amphora_is_the_exception_of_the_driver(deployment: Deployment) -> None:
    """A 404 that is not about a NIC arrives at the test as the driver's NotFound, at once."""
    before = len(deployment.lines())
    with pytest.raises(OctaviaError) as caught:
        deployment.peer.interface(deployment.balancer.amphora, IPv4Address("198.51.100.9"))
    assert caught.value.kind == "NotFound"
    assert deployment.lines()[before:] == ["GET // 200", "GET /1.0/interface/198.51.100.9 404"]


def test_amphora_with_another_name_is_retried_and_given_up(deployment: Deployment) -> None:
    """A certificate for another UUID is no amphora: the driver uses up its retries."""
    # An address of its own: connections to a known one are checked for the name they began with.
    address = IPv4Address("127.0.0.2")
    stranger = Amphora(management_address=address, vrrp_address=address, id=uuid.uuid4())
    before = len(deployment.peer.exchanges())
    with pytest.raises(OctaviaError) as caught:
        deployment.peer.version(stranger)
    assert caught.value.kind == "TimeOutException"
    failures = [item.failure for item in deployment.peer.exchanges()[before:]]
    assert len(failures) == 3
    assert all("SSLError" in failure for failure in failures)


def test_low_level_client_sends_what_the_driver_never_would(deployment: Deployment) -> None:
    """A refused upload through the client is the driver's InvalidRequest."""
    deployment.amphora.haproxy = 400
    with pytest.raises(OctaviaError) as caught:
        deployment.peer.client(
            deployment.balancer.amphora, "upload_config", str(deployment.balancer.id), "nonsense"
        )
    assert caught.value.kind == "InvalidRequest"
    assert deployment.amphora.uploaded == "nonsense"


def test_heartbeat_is_opened_with_its_key_only(deployment: Deployment) -> None:
    """The worked heartbeat of the wire format opens with its key and with no other."""
    message = deployment.peer.unwrap_envelope(VECTOR, "insecure")
    assert (message["id"], message["seq"], message["ver"]) == (
        "a1b2c3d4-0000-4000-8000-000000000001",
        67,
        3,
    )
    with pytest.raises(OctaviaError) as caught:
        deployment.peer.unwrap_envelope(VECTOR, "other")
    assert caught.value.kind == "InvalidHMACException"


def test_agent_configuration_is_rendered_by_octavia(deployment: Deployment) -> None:
    """The agent's configuration names the amphora, its topology and where to send heartbeats."""
    amphora_id = deployment.balancer.amphora.id
    files = deployment.peer.boot_files(amphora_id)
    for line in (
        f"amphora_id = {amphora_id}",
        "loadbalancer_topology = SINGLE",
        "controller_ip_port_list = 127.0.0.1:5555",
        "heartbeat_key = insecure",
    ):
        assert line in files.agent.splitlines()
    assert files.user_data.lstrip().startswith("#cloud-config")


def test_plain_client_is_answered_with_the_certificate_of_the_controller(
    deployment: Deployment,
) -> None:
    """Of three clients only the one with a certificate of the client authority is answered."""
    clients = {
        name: Client(
            inside=deployment.inside,
            address=LOOPBACK,
            amphora_id=deployment.balancer.amphora.id,
            trust=deployment.pki.server_chain,
            identity=identity,
        )
        for name, identity in {
            "controller": deployment.pki.controller,
            "stranger": deployment.pki.stranger,
            "nobody": None,
        }.items()
    }
    assert clients["controller"].get("//") == (200, '{"api_version": "1.0"}')
    for name in ("stranger", "nobody"):
        with pytest.raises(RefusedError):
            clients[name].get("//")
