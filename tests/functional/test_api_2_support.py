# SPDX-License-Identifier: Apache-2.0
"""Health and the support bundle of API 2.0, on an amphora that has all kinds of secrets."""

import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.conftest import NIC_MAC, Place
from tests.functional.keepalived_configs import vrrp_config
from tests.functional.test_api_2 import JSON
from tests.support import documents, need
from tests.support.documents import LB_ID
from tests.support.mutual_tls import Client

PATH = f"/2.0/loadbalancers/{LB_ID}"
HEARTBEAT_KEY = "a-key-of-heartbeats"
OWN, VIP = "198.51.100.4", "198.51.100.9"
PASSWORD_2_0, PASSWORD_1_0 = "pass2000", "ee46125"
_DEADLINE_S = 30


@pytest.fixture(scope="module")
def agent(place: Place) -> Iterator[Place]:
    """An agent of a pair, with a key for heartbeats and a plugged NIC."""
    need.programs("keepalived", "nft")
    with place.config_file.open("a") as stream:
        stream.write(
            "[controller_worker]\nloadbalancer_topology = ACTIVE_STANDBY\n"
            f"[health_manager]\nheartbeat_key = {HEARTBEAT_KEY}\n"
            "controller_ip_port_list = 192.0.2.1:5555\n"
        )
    process = place.start()
    try:
        place.await_answer()
        yield place
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)
    assert "Traceback" not in place.log.read_text()


@pytest.fixture(scope="module")
def pem(agent: Place) -> str:
    """A certificate with its key."""
    return agent.pki.amphora_pem(agent.amphora_id).decode()


@pytest.fixture(scope="module")
def loaded(agent: Place, controller: Client, pem: str) -> Iterator[Place]:
    """The same with a load balancer of API 2.0, with TLS and VRRP."""
    plug = (
        f'{{"subnet_cidr": "198.51.100.0/24", "gateway": null, "mac_address": "{NIC_MAC}",'
        f' "vrrp_ip": "{OWN}"}}'
    )
    assert controller.request("POST", f"/1.0/plug/vip/{VIP}", plug.encode()).status == 202
    agent.inner.ip("address", "add", f"{VIP}/32", "dev", "lo")
    document = documents.with_tls(documents.http(documents.member(1, 8081), port=443), pem) | {
        "vip": {"address": VIP, "subnet": "198.51.100.0/24"},
        "topology": "ACTIVE_STANDBY",
        "amphorae": [
            {"id": str(agent.amphora_id), "vrrp_ip": OWN},
            {"id": documents.object_id(5), "vrrp_ip": "198.51.100.5", "role": "BACKUP"},
        ],
        "vrrp": {"authentication": PASSWORD_2_0},
    }
    answer = controller.request("PUT", PATH, documents.encoded(document), headers=JSON)
    assert answer.status == 201, answer.body
    yield agent
    assert controller.request("DELETE", PATH).status == 204
    assert controller.request("PUT", "/1.0/vrrp/stop").status == 202


def parts(controller: Client) -> dict[tuple[str, str], tuple[str, str]]:
    """State and reason of each part, by name and object."""
    body: dict[str, Any] = controller.request("GET", "/2.0/health").json()
    return {
        (part["name"], part["object"]): (part["state"], part["reason"]) for part in body["parts"]
    }


def members_of(controller: Client) -> dict[str, str]:
    """Names and texts of the support bundle."""
    answer = controller.request("GET", "/2.0/support-bundle")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/gzip")
    with tarfile.open(fileobj=io.BytesIO(answer.body), mode="r:gz") as archive:
        found = {}
        for member in archive:
            stream = archive.extractfile(member)
            assert stream is not None
            found[member.name] = stream.read().decode()
        return found


def test_health_names_every_part_with_its_reason(loaded: Place, controller: Client) -> None:
    """What runs is ok; what does not run says so, and the whole is as bad as the worst part."""
    found = parts(controller)
    assert found[("haproxy", LB_ID)][0] == "ok", found
    assert (
        "it answers; version 2." in found[("haproxy", LB_ID)][1]
        or "version 3" in found[("haproxy", LB_ID)][1]
    )
    assert found[("certificate", f"{LB_ID}/front")][0] in {"ok", "warning"}
    assert found[("certificate", f"{LB_ID}/{documents.object_id(1)}")] == (
        "ok",
        "all that it lists is there",
    )
    for name in ("server", "client CA"):
        assert found["certificate", name][1].startswith("it is valid until "), found
    assert found[("logs", "")] == ("ok", "they stay here")
    assert found[("vrrp", "")][0] == "ok"
    assert found[("interface", "eth1")][0] == "ok"
    assert found[("disk", "")][1].endswith("MiB available on /")
    assert found[("namespace", loaded.inner.name)][0] == "ok"
    # No unit of that name is known to the stand-in for systemd.
    assert found[("heartbeat", "")][0] == "unknown"


def test_health_tells_what_is_broken(loaded: Place, controller: Client) -> None:
    """haproxy stopped on purpose is well; a missing certificate and a NIC that is down are not."""
    certificate = loaded.base / "certs" / LB_ID / "front.pem"
    content = certificate.read_bytes()
    assert controller.request("PUT", f"/1.0/loadbalancer/{LB_ID}/stop").status == 202
    certificate.unlink()
    loaded.inner.ip("link", "set", "eth1", "down")
    try:
        found = parts(controller)
        assert found[("haproxy", LB_ID)] == ("ok", "it was stopped on purpose")
        listed = found[("certificate", f"{LB_ID}/{documents.object_id(1)}")]
        assert listed == ("failed", f"it lists what is not there: {certificate}")
        assert found[("interface", "eth1")] == ("failed", "it is down")
        assert controller.request("GET", "/2.0/health").json()["state"] == "failed"
    finally:
        certificate.write_bytes(content)
        certificate.chmod(0o600)
        loaded.inner.ip("link", "set", "eth1", "up")
        loaded.inner.ip("address", "replace", f"{OWN}/24", "dev", "eth1")
        assert controller.request("PUT", f"/1.0/loadbalancer/{LB_ID}/start").status == 202


@pytest.mark.usefixtures("loaded")
def test_support_bundle_has_what_an_operator_needs(controller: Client) -> None:
    """Configurations, states, revisions, the kernel's network and the journal are in it."""
    found = members_of(controller)
    names = {name.removeprefix("amphora/").removesuffix(".txt") for name in found}
    assert {
        *("health", "details", "agent/amphora-agent.conf", f"haproxy/{LB_ID}/haproxy.cfg"),
        *(f"haproxy/{LB_ID}/info", f"haproxy/{LB_ID}/stat", f"haproxy/{LB_ID}/servers-state"),
        *("vrrp/octavia-keepalived.conf", "network/eth1.json", "network/addresses"),
        *("network/routes", "network/nftables", "system/units", "system/journal"),
        *(f"loadbalancers/{LB_ID}/current", f"loadbalancers/{LB_ID}/revisions"),
    } <= names
    assert "frontend" in found[f"amphora/haproxy/{LB_ID}/haproxy.cfg.txt"]
    assert "Uptime_sec" in found[f"amphora/haproxy/{LB_ID}/info.txt"]
    assert OWN in found["amphora/network/addresses.txt"]
    assert "keepalived_version" in found["amphora/details.txt"]


def test_support_bundle_has_no_secret(loaded: Place, controller: Client, pem: str) -> None:
    """No key and no password of the amphora is in any text of it, by whichever API it came."""
    found = members_of(controller)
    key = pem.split("PRIVATE KEY-----")[1]
    secrets = {line for line in key.splitlines() if len(line) >= 60}
    assert secrets
    secrets |= {HEARTBEAT_KEY, PASSWORD_2_0}
    for name, text in found.items():
        assert "PRIVATE KEY" not in text, name
        for secret in secrets:
            assert secret not in text, name
    # They are where they belong, so that they could have been told.
    assert HEARTBEAT_KEY in loaded.config_file.read_text()
    config = loaded.base / "vrrp/octavia-keepalived.conf"
    assert PASSWORD_2_0 in config.read_text()
    stored = config.read_bytes()
    upload = vrrp_config(loaded.base, interface="eth1", address=OWN, vip=VIP)
    assert controller.request("PUT", "/1.0/vrrp/upload", upload).status == 200
    try:
        for name, text in members_of(controller).items():
            assert PASSWORD_1_0 not in text, name
            assert PASSWORD_2_0 not in text, name
    finally:
        config.write_bytes(stored)


def test_password_of_vrrp_is_kept_and_never_shown(loaded: Place, controller: Client) -> None:
    """A document that was read has no password, and written back it keeps the one that is there."""
    shown = controller.request("GET", PATH)
    revision = controller.request("GET", f"{PATH}/revisions/1")
    for answer in (shown, revision):
        assert PASSWORD_2_0.encode() not in answer.body
    document = shown.json()["document"]
    document["vrrp"]["check_fall"] = 3
    dry = controller.request("PUT", f"{PATH}?dry_run=1", documents.encoded(document), headers=JSON)
    assert dry.status == 200
    assert b"fall 3" in dry.body
    assert PASSWORD_2_0.encode() not in dry.body
    answer = controller.request("PUT", PATH, documents.encoded(document), headers=JSON)
    assert answer.status == 200, answer.body
    config = loaded.base / "vrrp/octavia-keepalived.conf"
    assert PASSWORD_2_0 in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o600
