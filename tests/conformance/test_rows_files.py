# SPDX-License-Identifier: Apache-2.0
"""Endpoints of API 1.0 that store files: certificates, configurations of keepalived and the agent.

The numbers are those of the rows in the wire contract's endpoint table.
"""

import hashlib

import pytest

from tests.conformance import samples
from tests.conformance.checks import failed, md5, ok
from tests.conformance.samples import CRT_LIST, PEM, certificate
from tests.conformance.target import LB, LISTENER, Target


@pytest.mark.usefixtures("no_lb")
@pytest.mark.parametrize("name", [PEM, CRT_LIST])
def test_1_5_row_09_certificate_is_stored(target: Target, name: str) -> None:
    """A certificate is stored byte by byte, private, and answered with 200 and its MD5."""
    content = b"-----BEGIN\r\n\xff\x00-----END\n"
    answer = target.ask("PUT", certificate(name), content)
    ok(answer, 200)
    assert answer.headers["etag"] == md5(content)
    path = target.certs / LB / name
    assert target.look().read(path) == content
    assert target.look().mode(path) == 0o600


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
@pytest.mark.parametrize("name", ["evilpemfile", "a.pem.bak", ".pem", "apem", "a b.pem"])
def test_1_5_row_09_10_11_certificate_name_is_checked(
    target: Target, method: str, name: str
) -> None:
    """A name that is not one of a PEM file is 400 for every method."""
    answer = target.ask(method, certificate(name.replace(" ", "%20")), b"x")
    failed(answer, 400, "Filename has wrong format")


@pytest.mark.usefixtures("no_lb")
def test_1_5_row_10_md5_of_a_certificate(target: Target) -> None:
    """GET gives the MD5 of the bytes in `md5sum` and as ETag."""
    ok(target.ask("PUT", certificate(PEM), b"one\r\n"), 200)
    answer = target.ask("GET", certificate(PEM))
    digest = hashlib.md5(b"one\r\n").hexdigest()
    assert (answer.status, answer.json()) == (200, {"md5sum": digest})
    assert answer.headers["etag"] == digest


@pytest.mark.usefixtures("no_lb")
def test_1_5_row_10_missing_certificate_is_not_found(target: Target) -> None:
    """GET of a certificate that is not there is 404, with or without others of that balancer."""
    failed(target.ask("GET", certificate(PEM)), 404, "Certificate Not Found")
    ok(target.ask("PUT", certificate(CRT_LIST), b"x"), 200)
    failed(target.ask("GET", certificate(PEM)), 404, "Certificate Not Found")


@pytest.mark.usefixtures("no_lb")
def test_1_5_row_11_certificate_is_deleted(target: Target) -> None:
    """DELETE removes one certificate, and is 200 also when there is none."""
    ok(target.ask("PUT", certificate(PEM), b"x"), 200)
    ok(target.ask("PUT", certificate(CRT_LIST), b"y"), 200)
    for _ in range(2):
        ok(target.ask("DELETE", certificate(PEM)), 200)
    assert target.ask("GET", certificate(PEM)).status == 404
    assert target.ask("GET", certificate(CRT_LIST)).status == 200


def test_1_5_row_14_certificate_of_the_agent_is_replaced(target: Target) -> None:
    """A good PEM is 202 and serves the next handshake, without a restart."""
    if target.mint is None:
        pytest.skip("no certificate can be made for this target")
    first = target.ask("GET", "/").certificate
    pem = target.mint()
    for _ in range(2):
        ok(target.ask("PUT", "/1.0/certificate", pem), 202)
    assert target.ask("GET", "/").certificate != first
    if target.files is not None:
        assert target.files.read(target.server_pem) == pem
        assert target.files.mode(target.server_pem) == 0o600


@pytest.mark.parametrize("kind", ["empty", "nonsense", "no key", "other key", "half", "binary"])
def test_1_5_row_14_certificate_that_cannot_serve_is_refused(target: Target, kind: str) -> None:
    """A PEM that is broken, or whose key is another, is 400, and the old one serves on."""
    if target.mint is None:
        pytest.skip("no certificate can be made for this target")
    pem, other = target.mint(), target.mint()
    marker = b"-----BEGIN RSA PRIVATE KEY"
    leaf, _, key = pem.partition(marker)
    bodies = {
        "empty": b"",
        "nonsense": b"nonsense",
        "no key": leaf,
        "other key": leaf + marker + other.partition(marker)[2],
        "half": pem[: len(leaf) + len(key) // 2],
        "binary": bytes(range(256)),
    }
    before = target.ask("GET", "/").certificate
    failed(target.ask("PUT", "/1.0/certificate", bodies[kind]), 400)
    assert target.ask("GET", "/").certificate == before


def test_1_5_row_15_config_is_replaced(target: Target) -> None:
    """The agent's own configuration, sent back with a comment, is stored as it came."""
    content = target.look().read(target.config_file)
    assert content
    changed = content + b"\n# sent by a test\n"
    for _ in range(2):
        ok(target.ask("PUT", "/1.0/config", changed), 202)
    assert target.look().read(target.config_file) == changed
    ok(target.ask("PUT", "/1.0/config", content), 202)
    assert target.look().read(target.config_file) == content


@pytest.mark.parametrize(
    "broken", [b"", b"nonsense", b"\xff\xfe", b"[amphora_agent]\namphora_id = x\n"]
)
def test_1_5_row_15_config_that_cannot_be_right_is_refused(target: Target, broken: bytes) -> None:
    """A configuration that cannot be right is 400, and the old file stays."""
    before = target.look().read(target.config_file)
    failed(target.ask("PUT", "/1.0/config", broken), 400)
    assert target.look().read(target.config_file) == before


@pytest.mark.usefixtures("no_lvs")
def test_1_5_row_16_udp_listener_is_stored(target: Target) -> None:
    """A keepalived LVS configuration is 200 with its MD5 and is stored byte by byte."""
    config = samples.lvs()
    path = f"/1.0/listeners/{target.amphora_id}/{LISTENER}/udp_listener"
    for _ in range(2):
        answer = target.ask("PUT", path, config)
        ok(answer, 200)
        assert answer.headers["etag"] == md5(config)
    stored = target.base / "lvs" / f"octavia-keepalivedlvs-{LISTENER}.conf"
    assert target.look().read(stored) == config


@pytest.mark.usefixtures("no_lvs")
@pytest.mark.parametrize("broken", [b"nonsense\n", b"\xff\xfe", b"virtual_server {\n"])
def test_1_5_row_16_refused_udp_listener_keeps_the_one_before(
    target: Target, broken: bytes
) -> None:
    """What keepalived does not take is 400 with a reason, and the old text stays."""
    put = f"/1.0/listeners/{target.amphora_id}/{LISTENER}/udp_listener"
    config = samples.lvs()
    ok(target.ask("PUT", put, config), 200)
    failed(target.ask("PUT", put, config + broken), 400)
    assert target.ask("GET", f"/1.0/listeners/{LISTENER}/udp_listener").body == config


@pytest.mark.usefixtures("no_lvs")
def test_1_5_row_17_udp_listener_is_given_back(target: Target) -> None:
    """GET is the stored text without an ETag, and 404 in the agent's shape without one."""
    path = f"/1.0/listeners/{LISTENER}/udp_listener"
    failed(target.ask("GET", path), 404, "UDP Listener Not Found")
    config = samples.lvs()
    put = f"/1.0/listeners/{target.amphora_id}/{LISTENER}/udp_listener"
    ok(target.ask("PUT", put, config), 200)
    answer = target.ask("GET", path)
    assert (answer.status, answer.body) == (200, config)
    assert answer.headers["content-type"].startswith("text/plain")
    assert "etag" not in answer.headers
    ok(target.ask("DELETE", f"/1.0/listeners/{LISTENER}"), 200)
    failed(target.ask("GET", path), 404, "UDP Listener Not Found")


@pytest.mark.usefixtures("plugged")
def test_1_5_row_18_vrrp_configuration_is_stored(target: Target) -> None:
    """A keepalived VRRP configuration is 200 with its MD5, and is stored byte by byte."""
    for _ in range(2):
        answer = target.ask("PUT", "/1.0/vrrp/upload", samples.VRRP)
        ok(answer, 200)
        assert answer.headers["etag"] == md5(samples.VRRP)
    stored = target.look().read(target.base / "vrrp" / "octavia-keepalived.conf")
    assert stored == samples.VRRP


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize("broken", [b"nonsense\n", b"\xff\xfe", b"vrrp_instance x {\n"])
def test_1_5_row_18_refused_vrrp_configuration_keeps_the_one_before(
    target: Target, broken: bytes
) -> None:
    """What keepalived does not take is 400 with a reason, and the old file stays."""
    ok(target.ask("PUT", "/1.0/vrrp/upload", samples.VRRP), 200)
    failed(target.ask("PUT", "/1.0/vrrp/upload", samples.VRRP + broken), 400)
    stored = target.look().read(target.base / "vrrp" / "octavia-keepalived.conf")
    assert stored == samples.VRRP


def test_1_5_row_19_unknown_vrrp_action_is_told(target: Target) -> None:
    """An unknown action is 400 and is named."""
    answer = target.ask("PUT", "/1.0/vrrp/restart")
    assert "restart" in failed(answer, 400, "Invalid Request")["details"]


@pytest.mark.usefixtures("plugged")
def test_1_5_row_19_vrrp_actions(target: Target) -> None:
    """Start, start again, reload and stop are 202 and say what was done."""
    if not target.keepalived:
        pytest.skip("keepalived cannot be started on this target")
    ok(target.ask("PUT", "/1.0/vrrp/upload", samples.VRRP), 200)
    for name in ("start", "START", "reload", "stop", "stop"):
        body = ok(target.ask("PUT", f"/1.0/vrrp/{name}"), 202)
        assert body["details"].startswith("keepalived ")


@pytest.mark.usefixtures("plugged")
def test_1_5_row_19_start_with_the_pid_file_of_another_process(target: Target) -> None:
    """What a reset has left, whose number is another process's by now, does not keep VRRP down."""
    if not target.keepalived:
        pytest.skip("keepalived cannot be started on this target")
    ok(target.ask("PUT", "/1.0/vrrp/upload", samples.VRRP), 200)
    pid_file = target.base / "vrrp" / "octavia-keepalived.pid"
    target.look().write(pid_file, b"1\n")
    ok(target.ask("PUT", "/1.0/vrrp/start"), 202)
    assert target.look().read(pid_file) != b"1\n"
    ok(target.ask("PUT", "/1.0/vrrp/stop"), 202)
