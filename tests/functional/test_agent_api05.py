# SPDX-License-Identifier: Apache-2.0
"""API 0.5, which controllers before Train speak: one haproxy for each listener."""

import hashlib
import uuid
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.functional.conftest import LOOPBACK, Place
from tests.functional.haproxy_configs import listener_config
from tests.functional.keepalived_configs import lvs_config
from tests.support import http_member, need
from tests.support.mutual_tls import Client

FIELD = Path(__file__).resolve().parents[1] / "golden/field-2016/haproxy.cfg"
LISTENER = "836053f0-ea72-46ae-9fae-8b80153ef593"
OTHER = str(uuid.UUID("66666666-0000-4000-8000-000000000006"))
VIP = IPv4Address("198.51.100.9")
PORT = 2222
CERTIFICATE = f"{'b2' * 20}.pem"


def field_config(agent: Place, member_port: int) -> bytes:
    """The sample with the addresses of this place; all members are the one on loopback."""
    text = FIELD.read_text().replace("/var/lib/octavia", str(agent.base))
    text = text.replace("bind 192.168.235.14:22", f"bind {VIP}:{PORT}")
    for address in ("192.168.235.20:22", "192.168.235.24:22"):
        text = text.replace(address, f"{LOOPBACK}:{member_port}")
    return text.encode()


def put(controller: Client, path: str, body: bytes = b"") -> int:
    """PUT below /0.5."""
    return controller.request("PUT", f"/0.5/{path}", body).status


@pytest.fixture(autouse=True)
def nothing_left(controller: Client, agent: Place) -> None:
    """No listener is there, whatever a test did before."""
    for listener in (LISTENER, OTHER):
        assert controller.request("DELETE", f"/0.5/listeners/{listener}").status == 200
    agent.inner.ip("address", "replace", f"{VIP}/32", "dev", "lo")


def test_field_sample_of_2016_lives_and_dies(controller: Client, agent: Place) -> None:
    """What an amphora of 2016 ran is accepted, started, reloaded with a change and deleted."""
    upload = f"listeners/{agent.amphora_id}/{LISTENER}/haproxy"
    first, second = field_config(agent, 8081), field_config(agent, 8082)
    with (
        http_member.http_member(agent.inner, "one", LOOPBACK, 8081),
        http_member.http_member(agent.inner, "two", LOOPBACK, 8082),
    ):
        answer = controller.request("PUT", f"/0.5/{upload}", first)
        assert (answer.status, answer.headers["etag"]) == (202, hashlib.md5(first).hexdigest())
        assert put(controller, f"listeners/{LISTENER}/start") == 202
        assert http_member.fetch(agent.inner, VIP, PORT).text == "one"
        assert put(controller, upload, second) == 202
        assert put(controller, f"listeners/{LISTENER}/reload") == 202
        assert http_member.fetch(agent.inner, VIP, PORT).text == "two"
    shown = controller.request("GET", f"/0.5/listeners/{LISTENER}/haproxy")
    # The group is supplied by the image.
    assert shown.body == second.replace(b"    group nogroup\n", b"")
    assert shown.headers["etag"] == hashlib.md5(shown.body).hexdigest()
    status = controller.request("GET", f"/0.5/listeners/{LISTENER}")
    assert status.json() == {"uuid": LISTENER, "status": "ACTIVE", "type": "TCP"}
    assert put(controller, f"listeners/{LISTENER}/stop") == 202
    assert controller.request("GET", f"/0.5/listeners/{LISTENER}").json()["status"] == "OFFLINE"
    assert put(controller, f"listeners/{LISTENER}/start") == 202
    assert controller.request("DELETE", f"/0.5/listeners/{LISTENER}").status == 200
    with pytest.raises(ConnectionRefusedError):
        http_member.fetch(agent.inner, VIP, PORT)
    assert not list(agent.base.glob(f"*{LISTENER}*"))
    assert controller.request("GET", f"/0.5/listeners/{LISTENER}").status == 404


def test_listeners_run_beside_each_other(controller: Client, agent: Place) -> None:
    """Each listener has a haproxy of its own: deleting one leaves the other in service."""
    other = listener_config(agent.base, OTHER, vip=str(VIP), ports={"one": 8081})
    with http_member.http_member(agent.inner, "one", LOOPBACK, 8081):
        for listener, config in ((LISTENER, field_config(agent, 8081)), (OTHER, other)):
            assert (
                put(controller, f"listeners/{agent.amphora_id}/{listener}/haproxy", config) == 202
            )
            assert put(controller, f"listeners/{listener}/reload") == 202
        assert controller.request("GET", "/0.5/details").json()["haproxy_count"] == 2
        entries = controller.request("GET", "/0.5/listeners").json()
        assert {entry["uuid"]: entry["type"] for entry in entries} == {
            LISTENER: "TCP",
            OTHER: "HTTP",
        }
        assert controller.request("DELETE", f"/0.5/listeners/{LISTENER}").status == 200
        assert http_member.fetch(agent.inner, VIP, 80).text == "one"
    with pytest.raises(ConnectionRefusedError):
        http_member.fetch(agent.inner, VIP, PORT)


def test_upload_that_haproxy_refuses_changes_nothing(controller: Client, agent: Place) -> None:
    """A refused file is 400 with haproxy's words; the one before stays."""
    upload = f"/0.5/listeners/{agent.amphora_id}/{OTHER}/haproxy"
    good = listener_config(agent.base, OTHER, vip=str(VIP), ports={})
    assert controller.request("PUT", upload, good).status == 202
    refused = controller.request("PUT", upload, good + b"nonsense 1\n")
    assert refused.status == 400
    assert "nonsense" in refused.json()["details"]
    assert controller.request("GET", f"/0.5/listeners/{OTHER}/haproxy").body == good


def test_certificates_are_keyed_by_listener(controller: Client, agent: Place) -> None:
    """A listener's certificate is stored, told and deleted, and goes with the listener."""
    path = f"/0.5/listeners/{OTHER}/certificates/{CERTIFICATE}"
    for _ in range(2):
        assert controller.request("PUT", path, b"pem\r\n").status == 200
    digest = hashlib.md5(b"pem\r\n").hexdigest()
    assert controller.request("GET", path).json() == {"md5sum": digest}
    assert (agent.base / "certs" / OTHER / CERTIFICATE).exists()
    for _ in range(2):
        assert controller.request("DELETE", path).status == 200
    assert controller.request("GET", path).status == 404
    assert controller.request("PUT", path, b"pem").status == 200
    assert controller.request("DELETE", f"/0.5/listeners/{OTHER}").status == 200
    assert not (agent.base / "certs" / OTHER).exists()


def test_udp_listeners_share_the_actions(controller: Client, agent: Place) -> None:
    """A UDP listener is started and deleted by the same paths as one of haproxy."""
    need.programs("keepalived")
    config = lvs_config(agent.inner.name, OTHER)
    assert put(controller, f"listeners/{agent.amphora_id}/{OTHER}/udp_listener", config) == 200
    assert put(controller, f"listeners/{OTHER}/reload") == 202
    answer = controller.request("GET", f"/0.5/listeners/{OTHER}")
    assert answer.json() == {"uuid": OTHER, "status": "ACTIVE", "type": "UDP"}
    assert controller.request("GET", f"/0.5/listeners/{OTHER}/udp_listener").body == config
    assert controller.request("DELETE", f"/0.5/listeners/{OTHER}").status == 200


def test_version_discovery_offers_1_0_only(controller: Client) -> None:
    """The old version is served, not offered; its own info names it."""
    assert controller.request("GET", "/").json() == {"api_version": "1.0"}
    assert controller.request("GET", "/0.5/info").json()["api_version"] == "0.5"
    assert controller.request("GET", "/1.0/info").json()["api_version"] == "1.0"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/0.5/loadbalancer/{OTHER}/haproxy", 404),
        ("PUT", f"/1.0/listeners/{OTHER}/start", 404),
        ("GET", f"/1.0/listeners/{OTHER}", 405),
        ("PUT", f"/0.5/listeners/{OTHER}/haproxy", 400),
        ("PUT", f"/0.5/listeners/{OTHER}/start", 404),
        ("GET", "/0.5/interface/192.0.2.1", 404),
        ("POST", "/0.5/plug/vip/192.0.2.1", 400),
        ("POST", "/0.5/plug/network", 400),
        ("PUT", "/0.5/vrrp/dance", 400),
        ("PUT", "/0.5/config", 400),
        ("PUT", "/0.5/certificate", 400),
        ("PUT", "/0.5/interface/192.0.2.1/rules", 404),
    ],
)
def test_routes_of_the_versions(controller: Client, method: str, path: str, status: int) -> None:
    """What differs is in one version only; what does not is in both. Each refusal is JSON."""
    answer = controller.request(method, path, b"")
    assert answer.status == status
    assert answer.json()["details"]
