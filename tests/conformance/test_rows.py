# SPDX-License-Identifier: Apache-2.0
"""Every endpoint of API 1.0: its successes, its failures, and the notes on routing.

The numbers are those of the rows in the wire contract's endpoint table.
"""

import hashlib
from typing import Any

import pytest

from tests.conformance import samples
from tests.conformance.checks import failed, framework, md5, ok
from tests.conformance.target import LB, LISTENER, UNKNOWN, Nic, Target

PEM = f"{'a1' * 20}.pem"
CRT_LIST = f"{LISTENER}.pem"


def certificate(name: str, lb_id: str = LB) -> str:
    return f"/1.0/loadbalancer/{lb_id}/certificates/{name}"


def action(name: str, lb_id: str = LB) -> str:
    return f"/1.0/loadbalancer/{lb_id}/{name}"


@pytest.mark.parametrize("path", ["/", "//"])
def test_1_5_row_01_version_is_answered(target: Target, path: str) -> None:
    """GET with one and with two slashes is answered at once with the exact body."""
    answer = target.ask("GET", path)
    assert (answer.status, answer.json()) == (200, {"api_version": "1.0"})
    assert answer.body == b'{"api_version":"1.0"}'


def test_1_5_row_02_info_has_its_fields(target: Target) -> None:
    """GET info has the five fields, and the haproxy version begins with two numbers."""
    answer = target.ask("GET", "/1.0/info")
    assert answer.status == 200
    info = answer.json()
    assert set(info) >= {
        *("hostname", "haproxy_version", "api_version", "keepalived_version", "ipvsadm_version"),
    }
    major, minor = info["haproxy_version"].split(".")[:2]
    assert (int(major), int(minor)) >= (2, 2)
    assert info["api_version"] == "1.0"


def test_1_5_row_03_details_have_what_is_read(target: Target) -> None:
    """GET details has tuned profiles as text, processors and memory as numbers."""
    answer = target.ask("GET", "/1.0/details")
    assert answer.status == 200
    details = answer.json()
    assert isinstance(details["active_tuned_profiles"], str)
    assert type(details["cpu_count"]) is int
    for key in ("free", "buffers", "cached"):
        assert type(details["memory"][key]) is int
        assert 0 <= details["memory"][key] <= details["memory"]["total"]


def test_1_5_row_03_details_have_the_rest(target: Target) -> None:
    """GET details has the fields that operators see in logs, in their types."""
    details = target.ask("GET", "/1.0/details").json()
    assert {key: type(details[key]) for key in details} == {
        **dict.fromkeys(("hostname", "haproxy_version", "api_version", "topology"), str),
        **dict.fromkeys(("keepalived_version", "ipvsadm_version", "topology_status"), str),
        **dict.fromkeys(("networks", "cpu", "memory", "disk", "packages"), dict),
        **dict.fromkeys(("cpu_count", "haproxy_count", "lvs_listener_process_count"), int),
        **dict.fromkeys(("load", "listeners"), list),
        "active": bool,
        "active_tuned_profiles": str,
    }
    assert set(details["memory"]) >= {"total", "swap_used", "shared", "slab"}
    assert {key: type(value) for key, value in details["cpu"].items()} == {
        "total": int,
        "user": str,
        "system": str,
        "soft_irq": str,
    }
    assert set(details["disk"]) == {"used", "available"}
    assert [type(item) for item in details["load"]] == [str] * 3


@pytest.mark.usefixtures("uploaded")
def test_1_5_row_04_listeners_are_listed(target: Target) -> None:
    """GET listeners names each frontend with its mode as the type, and forgets it after delete."""
    answer = target.ask("GET", "/1.0/listeners")
    assert answer.status == 200
    assert {"status": "ACTIVE", "uuid": LB, "type": "HTTP"} in answer.json()
    ok(target.ask("DELETE", f"/1.0/listeners/{LB}"), 200)
    left = target.ask("GET", "/1.0/listeners").json()
    assert LB not in {entry["uuid"] for entry in left}


@pytest.mark.usefixtures("no_lb")
def test_1_5_row_04_terminated_tls_is_a_type(target: Target) -> None:
    """A frontend that binds with a crt-list is TERMINATED_HTTPS."""
    if target.mint is None:
        pytest.skip("no certificate can be made for this target")
    ok(target.ask("PUT", certificate(PEM), target.mint()), 200)
    ok(target.ask("PUT", certificate(CRT_LIST), f"{target.certs}/{LB}/{PEM}\n".encode()), 200)
    bind = f":80 ssl crt-list {target.certs}/{LB}/{CRT_LIST}\n".encode()
    ok(target.ask("PUT", target.haproxy_path(), target.config().replace(b":80\n", bind)), 202)
    listeners = target.ask("GET", "/1.0/listeners").json()
    assert {"status": "ACTIVE", "uuid": LB, "type": "TERMINATED_HTTPS"} in listeners


@pytest.mark.usefixtures("no_lb")
def test_1_5_row_05_upload_is_stored_and_not_started(target: Target) -> None:
    """An upload is 202 with the MD5 of the bytes; the file is there, private, and nothing runs."""
    config = target.config()
    for _ in range(2):
        answer = target.ask("PUT", target.haproxy_path(), config)
        ok(answer, 202)
        assert answer.headers["etag"] == md5(config)
    files = target.look()
    path = target.base / LB / "haproxy.cfg"
    assert files.read(path) == config
    assert files.mode(path) == 0o600
    assert target.running() is None


def test_1_5_row_05_refused_upload_keeps_the_one_before(target: Target, uploaded: bytes) -> None:
    """A configuration that haproxy refuses is 400 with its words; the old one is in force."""
    answer = target.ask("PUT", target.haproxy_path(), uploaded + b"\nnonsense 1\n")
    assert "nonsense" in failed(answer, 400, "Invalid request")["details"]
    assert target.ask("GET", action("haproxy")).body == uploaded
    names = target.look().names(target.base / LB)
    assert "haproxy.cfg.new-failed" in names
    assert "haproxy.cfg.new" not in names


@pytest.mark.usefixtures("no_lb")
def test_1_5_row_05_refused_first_upload_leaves_none(target: Target) -> None:
    """After a refused first upload there is no load balancer to start."""
    failed(target.ask("PUT", target.haproxy_path(), b"nonsense\n"), 400, "Invalid request")
    failed(target.ask("PUT", action("reload")), 404, "Loadbalancer Not Found")
    failed(target.ask("GET", action("haproxy")), 404, "Loadbalancer Not Found")


def test_1_5_row_06_config_is_given_back(target: Target, uploaded: bytes) -> None:
    """GET haproxy is the stored text as text/plain with its MD5."""
    answer = target.ask("GET", action("haproxy"))
    assert (answer.status, answer.body) == (200, uploaded)
    assert answer.headers["content-type"].lower() == "text/plain; charset=utf-8"
    assert answer.headers["etag"] == md5(uploaded)


def test_1_5_row_06_unknown_load_balancer_is_not_found(target: Target) -> None:
    """GET haproxy of an unknown load balancer is 404 in the agent's shape."""
    failed(target.ask("GET", action("haproxy", UNKNOWN)), 404, "Loadbalancer Not Found")


@pytest.mark.usefixtures("uploaded")
def test_1_5_row_07_actions_have_taken_effect_when_answered(target: Target) -> None:
    """Start, reload and stop, each twice, are 202; after each the process is as asked for."""
    for name in ("start", "start", "reload", "reload"):
        ok(target.ask("PUT", action(name)), 202)
        assert target.running() is not None
    for _ in range(2):
        ok(target.ask("PUT", action("stop")), 202)
        assert target.running() is None


@pytest.mark.usefixtures("uploaded")
def test_1_5_row_07_action_is_case_insensitive(target: Target) -> None:
    """Actions may be written in any case."""
    for name in ("RELOAD", "Stop"):
        ok(target.ask("PUT", action(name)), 202)


def test_1_5_row_07_unknown_action_is_told_before_existence(target: Target) -> None:
    """An unknown action is 400 also for an unknown load balancer; a known one is then 404."""
    body = failed(target.ask("PUT", action("restart", UNKNOWN)), 400, "Invalid Request")
    assert body["details"] == "Unknown action: restart"
    for name in ("start", "stop", "reload"):
        answer = target.ask("PUT", action(name, UNKNOWN))
        assert failed(answer, 404)["message"] in {
            "Loadbalancer Not Found",
            "UDP Listener Not Found",
        }


@pytest.mark.usefixtures("no_lb")
def test_1_5_row_07_start_that_fails_says_why(target: Target) -> None:
    """When haproxy cannot start the answer is 500 with what haproxy said."""
    # The check of a configuration does not see that a socket cannot be made.
    broken = target.config().replace(f"{target.base}/{LB}.sock".encode(), b"/proc/none/x.sock")
    assert target.ask("PUT", target.haproxy_path(), broken).status in {202, 400}
    if target.ask("GET", action("haproxy")).status == 404:
        pytest.skip("this haproxy sees the mistake when it checks")
    answer = target.ask("PUT", action("start"))
    assert "/proc/none" in failed(answer, 500, "Error starting haproxy")["details"]


@pytest.mark.usefixtures("uploaded")
def test_1_5_row_07_reload_that_fails_says_why(target: Target) -> None:
    """When haproxy does not take its file at a reload the answer is 500, and the old one serves."""
    ok(target.ask("PUT", action("start")), 202)
    before = target.running()
    # What was uploaded has been checked; a certificate it names may have gone since.
    target.look().write(target.base / LB / "haproxy.cfg", target.config() + b"nonsense 1\n")
    answer = target.ask("PUT", action("reload"))
    assert "nonsense" in failed(answer, 500, "Error reloading haproxy")["details"]
    assert before is not None
    assert target.running() == before


@pytest.mark.usefixtures("no_lvs")
def test_1_5_row_07_unknown_action_of_a_udp_listener(target: Target) -> None:
    """An unknown action is 400 for a UDP listener as well; stop of one that never ran is 202."""
    put = f"/1.0/listeners/{target.amphora_id}/{LISTENER}/udp_listener"
    ok(target.ask("PUT", put, samples.lvs()), 200)
    failed(target.ask("PUT", action("restart", LISTENER)), 400, "Invalid Request")
    for _ in range(2):
        ok(target.ask("PUT", action("stop", LISTENER)), 202)


@pytest.mark.usefixtures("no_lvs")
def test_1_5_row_08_delete_of_a_udp_listener_leaves_nothing(target: Target) -> None:
    """Deleting a UDP listener removes all its files, with process ids of a dead keepalived."""
    files, lvs = target.look(), target.base / "lvs"
    put = f"/1.0/listeners/{target.amphora_id}/{LISTENER}/udp_listener"
    ok(target.ask("PUT", put, samples.lvs()), 200)
    # Any one of the three, without the others.
    files.write(lvs / f"octavia-keepalivedlvs-{LISTENER}.vrrp.pid", b"1\n")
    for _ in range(2):
        ok(target.ask("DELETE", f"/1.0/listeners/{LISTENER}"), 200)
    assert not [name for name in files.names(lvs) if LISTENER in name]


@pytest.mark.usefixtures("uploaded", "no_lvs")
@pytest.mark.parametrize("text", [b"", b"no number\n", b"1\n"])
def test_1_5_row_07_08_19_pid_files_are_not_believed(target: Target, text: bytes) -> None:
    """A pid file that is empty, no number or of another process is no running program."""
    put = f"/1.0/listeners/{target.amphora_id}/{LISTENER}/udp_listener"
    ok(target.ask("PUT", put, samples.lvs()), 200)
    for name in (
        f"{LB}/{LB}.pid",
        f"lvs/octavia-keepalivedlvs-{LISTENER}.pid",
        "vrrp/octavia-keepalived.pid",
    ):
        target.look().write(target.base / name, text)
    assert target.ask("GET", "/1.0/details").json()["haproxy_count"] == 0
    for path in (action("stop"), action("stop", LISTENER), "/1.0/vrrp/stop"):
        ok(target.ask("PUT", path), 202)
    for object_id in (LB, LISTENER):
        ok(target.ask("DELETE", f"/1.0/listeners/{object_id}"), 200)


def test_1_5_row_08_delete_of_an_unknown_id_succeeds(target: Target) -> None:
    """Deleting what is not there is 200, twice."""
    for _ in range(2):
        ok(target.ask("DELETE", f"/1.0/listeners/{UNKNOWN}"), 200)


@pytest.mark.usefixtures("uploaded")
def test_1_5_row_08_delete_leaves_nothing(target: Target) -> None:
    """Deleting a running load balancer stops it and removes its files and certificates."""
    ok(target.ask("PUT", certificate(PEM), b"pem"), 200)
    ok(target.ask("PUT", action("reload")), 202)
    for _ in range(2):
        ok(target.ask("DELETE", f"/1.0/listeners/{LB}"), 200)
    files = target.look()
    assert files.names(target.base) & {LB, f"{LB}.sock"} == set()
    assert LB not in files.names(target.certs)
    assert target.running() is None


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


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"subnet_cidr":"198.51.100.0/24"}']
)
def test_1_5_row_12_malformed_vip_plug(target: Target, body: bytes) -> None:
    """A body that is not the object it should be is 400 in the framework's shape."""
    answer = target.ask("POST", "/1.0/plug/vip/198.51.100.9", body)
    framework(answer, 400, "Invalid subnet information")


@pytest.mark.parametrize(
    ("vip", "changes", "message"),
    [
        ("198.51.100.300", {}, "Invalid VIP: 198.51.100.300"),
        ("198.51.100.9", {"subnet_cidr": "198.51.100.9/24"}, "Invalid VIP: "),
        ("198.51.100.9", {"subnet_cidr": "nonsense"}, "Invalid VIP: "),
        ("198.51.100.9", {"gateway": "nonsense"}, "Invalid VIP: "),
        ("198.51.100.9", {"vrrp_ip": "nonsense"}, "Invalid VRRP Address: nonsense"),
        ("198.51.100.9", {"additional_vips": [{"ip_address": "x"}]}, None),
    ],
)
def test_1_5_row_12_vip_plug_with_wrong_values(
    target: Target, vip: str, changes: dict[str, Any], message: str | None
) -> None:
    """An address or a subnet that cannot be right is 400 and is named."""
    body = samples.vip_plug(**changes)
    answer = target.ask_json("POST", f"/1.0/plug/vip/{vip}", body)
    assert answer.status == 400, answer
    if message is not None:
        assert failed(answer, 400)["message"].startswith(message)


def test_1_5_row_12_missing_nic_is_told_so_that_it_is_asked_again(target: Target) -> None:
    """A NIC that is not there yet is 404 JSON with the phrase that controllers look for."""
    answer = samples.plug_vip(target)
    assert samples.RETRY_PHRASE in failed(answer, 404)["details"]


def test_1_5_row_12_vip_is_plugged_and_then_there_already(target: Target, plugged: Nic) -> None:
    """The second plug is 409 in the agent's shape."""
    answer = samples.plug_vip(target, plugged)
    failed(answer, 409, "Interface already exists")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b'{"fixed_ips":[]}'])
def test_1_5_row_13_malformed_network_plug(target: Target, body: bytes) -> None:
    """A body that is not the object it should be is 400 in the framework's shape."""
    answer = target.ask("POST", "/1.0/plug/network", body)
    framework(answer, 400, "Invalid port information")


@pytest.mark.parametrize("changed", [{"ip_address": "nonsense"}, {"subnet_cidr": "nonsense"}])
def test_1_5_row_13_network_plug_with_wrong_values(target: Target, changed: dict[str, str]) -> None:
    """An address or a subnet that cannot be right is 400."""
    body = samples.network_plug()
    body["fixed_ips"][0].update(changed)
    failed(target.ask_json("POST", "/1.0/plug/network", body), 400, "Invalid network port")


@pytest.mark.parametrize("fixed_ips", [None, []])
def test_1_5_row_13_missing_nic_is_told_so_that_it_is_asked_again(
    target: Target, fixed_ips: list[Any] | None
) -> None:
    """A NIC that is not there yet is 404 JSON with the phrase, with and without addresses."""
    for answer in (samples.plug_network(target), samples.plug_network(target, fixed_ips=fixed_ips)):
        assert samples.RETRY_PHRASE in failed(answer, 404)["details"]


def test_1_5_row_13_network_is_plugged_any_number_of_times(target: Target) -> None:
    """A NIC with its addresses is plugged, and again, with 202 and never 409."""
    if target.member_nic is None:
        pytest.skip("this target has no NIC for members")
    for _ in range(2):
        ok(samples.plug_network(target, target.member_nic), 202)
    answer = target.ask("GET", f"/1.0/interface/{target.member_nic.address(5)}")
    assert answer.json() == {"message": "OK", "interface": "eth2"}


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


def test_1_5_row_20_interface_of_an_address(target: Target, plugged: Nic) -> None:
    """The interface of the base address and of the VIP is eth1."""
    for host in (4, 9):
        answer = target.ask("GET", f"/1.0/interface/{plugged.address(host)}")
        assert (answer.status, answer.json()) == (200, {"message": "OK", "interface": "eth1"})


def test_1_5_row_20_address_that_is_none_is_refused(target: Target) -> None:
    """Text that is no address is 400, an address that nobody has is 404."""
    for text in ("nonsense", "198.51.100.300", "198.51.100.0%2F24"):
        answer = target.ask("GET", f"/1.0/interface/{text}")
        assert answer.status in ({404} if "%2F" in text else {400}), answer
    failed(target.ask("GET", "/1.0/interface/nonsense"), 400, "Invalid IP address")
    missing = "Error interface not found for IP address"
    for address in ("192.0.2.77", "2001:db8::77", "2001:DB8:0:0::77"):
        failed(target.ask("GET", f"/1.0/interface/{address}"), 404, missing)


def test_1_5_row_21_rules_are_taken(target: Target, plugged: Nic) -> None:
    """The complete list, the empty list, and both again are 200."""
    path = f"/1.0/interface/{plugged.address(4)}/rules"
    for content in (samples.rules(), samples.rules(), [], []):
        ok(target.ask_json("PUT", path, content), 200)


@pytest.mark.parametrize(
    "content",
    [
        {},
        "x",
        None,
        [1],
        [{"protocol": "TCP", "cidr": None}],
        [{"protocol": "tcp", "cidr": None, "port": 80}],
        [{"protocol": "VRRP", "cidr": None, "port": 80}],
        [{"protocol": "TCP", "cidr": None, "port": 0}],
        [{"protocol": "TCP", "cidr": None, "port": 65536}],
        [{"protocol": "TCP", "cidr": None, "port": "80"}],
        [{"protocol": "TCP", "cidr": None, "port": 80, "more": 1}],
        [{"protocol": "TCP", "cidr": 5, "port": 80}],
    ],
)
def test_1_5_row_21_malformed_rules(target: Target, plugged: Nic, content: object) -> None:
    """Anything but a list of complete rules is 400 in the framework's shape."""
    path = f"/1.0/interface/{plugged.address(4)}/rules"
    framework(target.ask_json("PUT", path, content), 400, "Invalid rules information")


def test_1_5_row_21_rules_for_an_address_of_nobody(target: Target) -> None:
    """Text that is no address is 400, an address that nobody has is 404."""
    answer = target.ask_json("PUT", "/1.0/interface/nonsense/rules", [])
    failed(answer, 400, "Invalid IP address")
    answer = target.ask_json("PUT", "/1.0/interface/192.0.2.77/rules", [])
    failed(answer, 404, "Error interface not found for IP address")


@pytest.mark.usefixtures("plugged")
def test_1_5_routing_vrrp_upload_is_not_an_action(target: Target) -> None:
    """PUT vrrp/upload wins over PUT vrrp/{action}."""
    ok(target.ask("PUT", "/1.0/vrrp/upload", samples.VRRP), 200)


def test_1_5_routing_upload_without_amphora_is_an_unknown_action(target: Target) -> None:
    """PUT loadbalancer/{lb}/haproxy is no upload but the unknown action `haproxy`."""
    answer = target.ask("PUT", action("haproxy"), target.config())
    assert failed(answer, 400)["details"] == "Unknown action: haproxy"


def test_1_5_routing_get_of_a_listener_is_not_allowed(target: Target) -> None:
    """GET listeners/{id} is 405 in the framework's shape."""
    framework(target.ask("GET", f"/1.0/listeners/{LB}"), 405)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/1.0/plug/vip/2001:db8::9", 404),
        ("GET", "/1.0/interface/2001:db8::9", 404),
        ("PUT", "/1.0/interface/2001:db8::9/rules", 404),
    ],
)
def test_1_5_routing_ipv6_addresses_are_unescaped(
    target: Target, method: str, path: str, status: int
) -> None:
    """IPv6 addresses stand in paths with bare colons, and are understood."""
    body: object = []
    if method == "POST":
        body = samples.vip_plug(
            subnet_cidr="2001:db8::/64", gateway="2001:db8::1", vrrp_ip="2001:db8::4"
        )
    failed(target.ask_json(method, path, body), status)


@pytest.mark.usefixtures("uploaded")
def test_1_5_4_action_after_a_change_of_configuration(target: Target) -> None:
    """A reload makes haproxy serve the new configuration; the master stays the same process."""
    ok(target.ask("PUT", action("reload")), 202)
    pid_file = target.base / LB / f"{LB}.pid"
    master = target.look().read(pid_file)
    ok(target.ask("PUT", target.haproxy_path(), target.config(port=81)), 202)
    ok(target.ask("PUT", action("reload")), 202)
    assert target.look().read(pid_file) == master
    assert target.look().read(target.base / LB / "servers-state")
