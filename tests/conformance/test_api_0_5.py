# SPDX-License-Identifier: Apache-2.0
"""API 0.5, which controllers before Train speak: one haproxy for each listener."""

import re

import pytest

from tests.conformance import samples
from tests.conformance.checks import failed, framework, md5, ok
from tests.conformance.target import FIELD_LISTENER as LISTENER
from tests.conformance.target import UNKNOWN, Target

PEM = f"/0.5/listeners/{LISTENER}/certificates/{'c3' * 20}.pem"
CONFIG = f"/0.5/listeners/{LISTENER}/haproxy"


def upload_path(target: Target) -> str:
    return f"/0.5/listeners/{target.amphora_id}/{LISTENER}/haproxy"


def field_config(target: Target) -> bytes:
    """Like the configuration of a listener of 2016: `group`, two log lines, peers, TCP."""
    return f"""# Configuration for test-lb1238
global
    daemon
    user nobody
    group nogroup
    log /dev/log local0
    log /dev/log local1 notice
    stats socket {target.base}/{LISTENER}.sock mode 0666 level user

defaults
    log global
    retries 3
    option redispatch
    timeout connect 5000
    timeout client 50000
    timeout server 50000

peers 836053f0ea7246ae9fae8b80153ef593_peers
    peer 3OduZJiPzm475Q7IgyshE5oq1Jk 127.0.0.1:1025
    peer jrwLnRhlvXcPd21JhvXEMStRHh0 127.0.0.2:1025


frontend {LISTENER}
    option tcplog
    bind 127.0.0.1:2222
    mode tcp
    default_backend 457d4de5-3213-4969-8f20-1f2d3505ff1e

backend 457d4de5-3213-4969-8f20-1f2d3505ff1e
    mode tcp
    balance leastconn
    timeout check 5
    server fa28676f-a762-4a8e-91ab-7a83f071b62b 127.0.0.1:22 weight 1 check inter 5s fall 3 rise 3
    server 1ded44da-cba5-434c-8578-95153656c392 127.0.0.2:22 weight 1 check inter 5s fall 3 rise 3
""".encode()


@pytest.mark.usefixtures("no_listener")
def test_1_3_field_sample_lives_and_dies(target: Target) -> None:
    """A configuration of 2016 is accepted, started, reloaded, listed and deleted over 0.5."""
    config = field_config(target)
    for _ in range(2):
        ok(target.ask("PUT", upload_path(target), config), 202)
    stored = target.ask("GET", CONFIG)
    assert (stored.status, stored.body) == (200, re.sub(rb" +group nogroup\n", b"", config))
    for name in ("start", "reload", "RELOAD", "stop", "start"):
        ok(target.ask("PUT", f"/0.5/listeners/{LISTENER}/{name}"), 202)
        assert (target.running(LISTENER) is None) is (name == "stop")
    listed = target.ask("GET", "/0.5/listeners").json()
    assert {"status": "ACTIVE", "uuid": LISTENER, "type": "TCP"} in listed
    for _ in range(2):
        ok(target.ask("DELETE", f"/0.5/listeners/{LISTENER}"), 200)
    assert target.running(LISTENER) is None
    failed(target.ask("GET", CONFIG), 404)
    assert target.look().names(target.base) & {LISTENER, f"{LISTENER}.sock"} == set()


@pytest.mark.usefixtures("no_listener")
def test_1_3_certificates_of_a_listener(target: Target) -> None:
    """Certificates are stored, hashed and removed by the listener's id."""
    content = b"-----BEGIN\r\n-----END\r\n"
    ok(target.ask("PUT", PEM, content), 200)
    assert target.ask("GET", PEM).json() == {"md5sum": md5(content)}
    assert target.look().read(target.certs / LISTENER / PEM.rpartition("/")[2]) == content
    for _ in range(2):
        ok(target.ask("DELETE", PEM), 200)
    failed(target.ask("GET", PEM), 404, "Certificate Not Found")


@pytest.mark.usefixtures("no_listener")
def test_1_3_refused_upload_keeps_the_one_before(target: Target) -> None:
    """A configuration that haproxy refuses is 400, and the one before stays."""
    config = target.config(LISTENER, port=2222)
    ok(target.ask("PUT", upload_path(target), config), 202)
    answer = target.ask("PUT", upload_path(target), config + b"nonsense 1\n")
    assert "nonsense" in failed(answer, 400)["details"]
    assert target.ask("GET", CONFIG).body == config


def test_1_3_unknown_listener(target: Target) -> None:
    """Unknown listeners are 404 for reads and actions; unknown actions are 400 before that."""
    failed(target.ask("GET", f"/0.5/listeners/{UNKNOWN}/haproxy"), 404)
    failed(target.ask("PUT", f"/0.5/listeners/{UNKNOWN}/reload"), 404)
    failed(target.ask("PUT", f"/0.5/listeners/{UNKNOWN}/restart"), 400)


@pytest.mark.parametrize("path", ["info", "details", "listeners"])
def test_1_3_what_did_not_change_is_there(target: Target, path: str) -> None:
    """Info, details and the list of listeners are answered as in 1.0."""
    old, new = target.ask("GET", f"/0.5/{path}"), target.ask("GET", f"/1.0/{path}")
    assert (old.status, type(old.json())) == (200, type(new.json()))


@pytest.mark.usefixtures("plugged")
def test_1_3_plug_interface_and_vrrp_did_not_change(target: Target) -> None:
    """Plugs, interfaces and VRRP are there over 0.5, with the same failures."""
    answer = target.ask_json("POST", "/0.5/plug/vip/198.51.100.9", samples.vip_plug())
    assert samples.RETRY_PHRASE in failed(answer, 404)["details"]
    answer = target.ask_json("POST", "/0.5/plug/network", samples.network_plug())
    assert samples.RETRY_PHRASE in failed(answer, 404)["details"]
    failed(target.ask("GET", "/0.5/interface/nonsense"), 400, "Invalid IP address")
    failed(target.ask("PUT", "/0.5/vrrp/restart"), 400)
    ok(target.ask("PUT", "/0.5/vrrp/upload", samples.VRRP), 200)
    failed(target.ask("PUT", "/0.5/certificate", b"nonsense"), 400)
    failed(target.ask("PUT", "/0.5/config", b"nonsense"), 400)


def test_1_3_routes_of_1_0_are_not_those_of_0_5(target: Target) -> None:
    """Load balancers belong to 1.0 alone, and the version stays exactly 1.0."""
    framework(target.ask("PUT", f"/0.5/loadbalancer/{UNKNOWN}/reload"), 404)
    assert target.ask("GET", "//").json() == {"api_version": "1.0"}
