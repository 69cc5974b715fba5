# SPDX-License-Identifier: Apache-2.0
"""A listener of protocol PROMETHEUS, from Octavia's renderer to what Prometheus reads."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from amphora_agent import prometheus
from tests.functional.conftest import GATEWAY, LOOPBACK, NIC_MAC, REPOSITORY, Place
from tests.support import need, waiting
from tests.support.balancer import Amphora, Listener, LoadBalancer, Member, Pool, VipPort
from tests.support.http_member import fetch, http_member
from tests.support.netns import Namespace, namespace
from tests.support.octavia_driver import ControllerConfig, Octavia, octavia

VIP = IPv4Address("198.51.100.9")
VIP_PORT = VipPort(mac=NIC_MAC, subnet=GATEWAY.network, gateway=GATEWAY.ip, mtu=1450)
HTTP_PORT = 80
METRICS_PORT = 9100
_DEADLINE_S = 20.0
_PROXY = ("-m", "amphora_agent.prometheus_proxy")

# Plays haproxy's exporter: sends what it is given and closes.
_SAYS = """
import socket, sys
with socket.create_server(("127.0.0.1", 9101)) as server:
    print("listens", flush=True)
    while True:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(sys.argv[1].encode())
            if sys.argv[2] == "hang":
                connection.recv(1)
"""


def families(text: str) -> dict[str, Metric]:
    """What a Prometheus server makes of an exposition."""
    return {family.name: family for family in text_string_to_metric_families(text)}


@contextmanager
def proxy(inside: Namespace, log: Path) -> Iterator[None]:
    """The program behind its socket, as systemd would start it."""
    need.programs("systemd-socket-activate")
    with log.open("ab") as output:
        process = subprocess.Popen(
            inside.command(
                *("systemd-socket-activate", "--listen=127.0.0.1:9102"),
                *(f"--setenv=PYTHONPATH={REPOSITORY}", sys.executable, "-W", "error", *_PROXY),
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        waiting.until(
            "the socket",
            lambda: "Listening" in log.read_text() or None,
            deadline_s=_DEADLINE_S,
            every_s=0.05,
        )
        yield
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)


@contextmanager
def exporter_that_says(inside: Namespace, text: str, then: str = "close") -> Iterator[None]:
    """Something else in the place of haproxy's exporter."""
    process = subprocess.Popen(
        inside.command(sys.executable, "-c", _SAYS, text, then), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"listens\n"
        yield
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)
        process.stdout.close()


@pytest.fixture(scope="module")
def controller(agent: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Octavia]:
    """Octavia's driver, for the agent of this module."""
    config = ControllerConfig(
        directory=tmp_path_factory.mktemp("octavia"),
        pki=agent.pki,
        heartbeat_key="heartbeat-key",
        heartbeat_targets=((LOOPBACK, 5555),),
        retries=3,
        haproxy_amphora={
            "base_path": str(agent.base),
            "base_cert_dir": str(agent.base / "certs"),
            "default_connection_limit": "1000",
        },
    )
    with octavia(config, agent.outer) as peer:
        yield peer


@pytest.fixture(scope="module")
def balancer(agent: Place, controller: Octavia) -> Iterator[LoadBalancer]:
    """A load balancer with an HTTP listener and one for its metrics, in service."""
    amphora = Amphora(
        management_address=LOOPBACK,
        vrrp_address=IPv4Address("198.51.100.4"),
        id=agent.amphora_id,
    )
    pool = Pool(members=(Member(address=LOOPBACK, port=8081),))
    made = LoadBalancer(
        vip=VIP,
        amphora=amphora,
        listeners=(
            Listener(port=HTTP_PORT, pool=pool),
            Listener(port=METRICS_PORT, protocol="PROMETHEUS"),
        ),
    )
    controller.post_vip_plug(made, VIP_PORT).result(timeout=60)
    controller.update(made)
    with (
        http_member(agent.inner, "one", LOOPBACK, 8081),
        proxy(agent.inner, agent.directory / "proxy.log"),
    ):
        yield made
    for number, listener in enumerate(made.listeners, start=1):
        controller.delete(replace(made, listeners=made.listeners[number - 1 :]), listener.id)


def test_scrape_through_the_vip_counts_requests(agent: Place, balancer: LoadBalancer) -> None:
    """Requests that went through the VIP stand under the ids of listener, pool and member."""
    served, _ = balancer.listeners
    pool, member = f"{served.pool.id}:{served.id}", str(served.pool.members[0].id)
    for _ in range(3):
        assert fetch(agent.network, VIP, HTTP_PORT).text == "one"

    scraped = families(fetch(agent.network, VIP, METRICS_PORT, "/metrics").text)

    def value(name: str, **labels: str) -> float:
        [found] = [s.value for s in scraped[name].samples if s.labels == labels]
        return float(found)

    assert value("octavia_listener_http_requests", listener=str(served.id)) == 3
    assert value("octavia_pool_http_responses", pool=pool, code="2xx") == 3
    assert value("octavia_member_http_responses", pool=pool, member=member, code="2xx") == 3
    assert value("octavia_listener_http_responses", listener=str(served.id), code="5xx") == 0
    assert value("octavia_loadbalancer_cpu") >= 0
    assert 0 < value("octavia_loadbalancer_memory") < 100


def test_scrape_has_every_metric_that_octavia_promises(
    agent: Place, balancer: LoadBalancer
) -> None:
    """All 142 names are there, and the two that haproxy lacks, and nothing of the plumbing."""
    text = fetch(agent.network, balancer.vip, METRICS_PORT, "/any/path").text
    named = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# HELP ")}

    promised = {rule.new.decode() for rule in prometheus.RULES.values()}
    assert len(promised) == 142
    assert named == promised | {"octavia_loadbalancer_cpu", "octavia_loadbalancer_memory"}
    assert "prometheus-exporter" not in text
    assert "haproxy_" not in text


def test_scrapes_at_once_are_all_answered(agent: Place, balancer: LoadBalancer) -> None:
    """More scrapes than are served at a time wait for their turn and get the whole."""
    sizes: list[int] = []

    def scrape() -> None:
        sizes.append(len(families(fetch(agent.network, balancer.vip, METRICS_PORT).text)))

    threads = [threading.Thread(target=scrape) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=_DEADLINE_S)
    assert sizes == [144] * 12


@pytest.fixture(scope="module")
def inside() -> Iterator[Namespace]:
    """A namespace without haproxy."""
    need.root()
    with namespace("metrics") as made:
        yield made


@pytest.fixture
def alone(inside: Namespace, tmp_path: Path) -> Iterator[Path]:
    """The program without haproxy; the file with what it says."""
    log = tmp_path / "proxy.log"
    with proxy(inside, log):
        yield log


def test_without_haproxy_the_answer_is_bad_gateway(inside: Namespace, alone: Path) -> None:
    """Where no exporter listens the answer is 502, and the log says that it is haproxy's."""
    answer = fetch(inside, LOOPBACK, 9102)

    assert answer.status == 502
    assert "haproxy does not tell its metrics" in answer.text
    assert "Connection refused" in alone.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no HTTP at all",
        "HTTP/1.1 503 Service Unavailable\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhaproxy_up 1\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
def test_strange_exporter_makes_a_bad_gateway(inside: Namespace, alone: Path, text: str) -> None:
    """What is not the exporter's answer is 502 and not an empty exposition."""
    with exporter_that_says(inside, text):
        assert fetch(inside, LOOPBACK, 9102).status == 502
    assert "Traceback" not in alone.read_text()


@pytest.mark.usefixtures("alone")
def test_exporter_that_hangs_is_given_up(inside: Namespace) -> None:
    """An exporter that says nothing is 502 after some seconds, not a scrape without end."""
    begin = time.monotonic()
    with exporter_that_says(inside, "", "hang"):
        assert fetch(inside, LOOPBACK, 9102).status == 502
    assert time.monotonic() - begin > 1


@pytest.mark.usefixtures("alone")
def test_broken_off_answer_is_not_passed_off_as_whole(inside: Namespace) -> None:
    """A reader sees that metrics are missing when haproxy ends in the middle of them."""
    some = "# HELP haproxy_process_listeners l\nhaproxy_process_listeners 3\n"
    text = f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{len(some):x}\r\n{some}\r\n"
    with exporter_that_says(inside, text), pytest.raises(Exception, match="IncompleteRead"):
        fetch(inside, LOOPBACK, 9102)
    with exporter_that_says(inside, f"{text}0\r\n\r\n"):
        assert "octavia_loadbalancer_listeners 3\n" in fetch(inside, LOOPBACK, 9102).text


def test_started_by_hand_it_says_how() -> None:
    """Without a passed socket it ends with an error that names the way to start it."""
    done = subprocess.run(
        [sys.executable, *_PROXY],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )

    assert done.returncode == 1
    assert "systemd-socket-activate" in done.stderr
