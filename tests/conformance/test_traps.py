# SPDX-License-Identifier: Apache-2.0
"""What breaks an unmodified controller, trap by trap, as far as it concerns the API.

The numbers are those of the wire contract's list of traps.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath

import pytest

from tests.conformance import samples
from tests.conformance.checks import FAILURES, failed, md5, ok
from tests.conformance.target import LB, LISTENER, UNKNOWN, Nic, Target
from tests.support import waiting
from tests.support.mutual_tls import Answer

PEM = f"/1.0/loadbalancer/{LB}/certificates/{'b2' * 20}.pem"
RELOAD = f"/1.0/loadbalancer/{LB}/reload"
# Of a UDP listener, and how the kernel writes them.
_LVS_MEMBERS = {"127.0.0.2": b"7F000002", "127.0.0.3": b"7F000003"}
_AT_ONCE = 5
_DEADLINE_S = 30


def at_once(call: Callable[[], Answer]) -> list[Answer]:
    """The answers to one request that is sent several times without waiting."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        calls = [pool.submit(call) for _ in range(_AT_ONCE)]
        return [made.result() for made in calls]


def peer_name(amphora_id: str) -> str:
    """The peer name, written down a second time from the contract's words."""
    digest = base64.b64encode(hashlib.sha1(amphora_id.encode()).digest(), altchars=b"_-").decode()
    return ("x" + digest[1:] if digest.startswith("-") else digest).rstrip("=")


def test_trap_01_version_is_neither_redirected_nor_missing(target: Target) -> None:
    """`GET //` is 200 itself: a redirect would go to a host of another name."""
    answer = target.ask("GET", "//")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert "location" not in answer.headers


def test_trap_02_version_is_exactly_one_zero(target: Target) -> None:
    """The version is the text `1.0` and nothing stands beside it."""
    assert target.ask("GET", "//").json() == {"api_version": "1.0"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/1.0"),
        ("GET", "/1.0/"),
        ("GET", "/1.1/info"),
        ("GET", "/favicon.ico"),
        ("GET", "/1.0//info"),
        ("GET", "/1.0/info/"),
        ("GET", "/1.0/loadbalancer/not-a-uuid/haproxy"),
        ("GET", f"/1.0/loadbalancer/{UNKNOWN}/haproxy"),
        ("GET", f"/1.0/loadbalancer/{UNKNOWN}/certificates/{'0' * 40}.pem"),
        ("GET", f"/1.0/listeners/{UNKNOWN}/udp_listener"),
        ("GET", "/1.0/interface/192.0.2.77"),
        ("PUT", "/1.0/loadbalancer/../../etc/haproxy"),
        ("PUT", "/1.0/loadbalancer/%2e%2e/start"),
        ("DELETE", "/1.0/listeners/%2e%2e"),
        ("POST", "/1.0/plug/nothing"),
    ],
)
def test_trap_03_not_found_is_a_json_object(target: Target, method: str, path: str) -> None:
    """A 404 that were not a JSON object would be asked again for ten minutes."""
    answer = target.ask(method, path)
    assert answer.status == 404, (path, answer.status, answer.body)
    assert isinstance(answer.json(), dict)
    assert samples.RETRY_PHRASE not in answer.json().get("details", "")


@pytest.mark.parametrize("size", [16 * 2**20 + 1, 20 * 2**20])
def test_trap_04_body_over_the_limit_is_400(target: Target, size: int) -> None:
    """A body over 16 MiB is 400: 413 would count as success."""
    failed_path = target.ask("PUT", PEM, bytes(size))
    assert failed_path.status == 400
    assert isinstance(failed_path.json(), dict)
    assert target.ask("GET", PEM).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((method, "/1.0/info") for method in ("PATCH", "TRACE", "BREW", "DELETE", "POST")),
        *((method, "/") for method in ("PUT", "POST", "DELETE")),
        ("POST", f"/1.0/loadbalancer/{LB}/start"),
        ("GET", "/1.0/vrrp/start"),
        ("GET", "/1.0/plug/vip/192.0.2.1"),
        ("GET", "/1.0/" + "x" * 3000),
        ("PUT", "/1.0/vrrp/%00"),
        ("PUT", f"/1.0/loadbalancer/{LB}/%ff"),
        ("PUT", f"/1.0/loadbalancer/{LB}/certificates/%00.pem"),
    ],
)
def test_trap_04_failures_are_codes_that_controllers_know(
    target: Target, method: str, path: str
) -> None:
    """Whatever is asked wrongly, the code is one that the driver takes as a failure, in JSON."""
    answer = target.ask(method, path)
    assert answer.status in FAILURES, (answer.status, answer.body)
    assert isinstance(answer.json(), dict)


@pytest.mark.parametrize(
    ("kind", "path"), [("vip", "/1.0/plug/vip/198.51.100.9"), ("network", "/1.0/plug/network")]
)
def test_trap_05_missing_nic_is_worth_a_retry(target: Target, kind: str, path: str) -> None:
    """Only a 404 whose details have the exact phrase makes the driver wait for a NIC."""
    body = samples.vip_plug() if kind == "vip" else samples.network_plug()
    details = failed(target.ask_json("POST", path, body), 404)["details"]
    assert "No suitable network interface found" in details


@pytest.mark.parametrize("server_name", [None, "another.example"])
def test_trap_06_certificate_does_not_depend_on_sni(
    target: Target, server_name: str | None
) -> None:
    """Without SNI and with a strange one the certificate is that of the amphora."""
    with target.connect(identity=target.controller, server_name=server_name) as session:
        names = (session.getpeercert() or {})["subjectAltName"]
    assert names == (("DNS", str(target.amphora_id)),)


def test_trap_07_session_outlives_a_new_certificate(target: Target) -> None:
    """A session that was open before answers after PUT certificate; the next one has the new."""
    if target.mint is None:
        pytest.skip("no certificate can be made for this target")
    pem = target.mint()
    with target.connect(identity=target.controller) as session:
        before = session.getpeercert(binary_form=True)
        head = f"PUT /1.0/certificate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(pem)}\r\n\r\n"
        session.sendall(head.encode() + pem[:100])
        ok(target.ask("PUT", "/1.0/certificate", pem), 202)
        after = target.ask("GET", "/").certificate
        session.sendall(pem[100:])
        assert session.recv(4096).startswith(b"HTTP/1.1 202 ")
    assert after != before


@pytest.mark.usefixtures("no_lb")
@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json",
        "text/plain; charset=utf-16",
    ],
)
def test_trap_08_raw_bodies_are_taken_as_they_are(target: Target, content_type: str | None) -> None:
    """A raw body is not parsed, whatever Content-Type it has, or none."""
    headers = {"Content-Type": content_type} if content_type else {}
    content = b"a=1&b=%32\r\n--x--\r\n"
    ok(target.ask("PUT", PEM, content, headers=headers), 200)
    assert target.ask("GET", PEM).json() == {"md5sum": md5(content)}
    config = target.config()
    ok(target.ask("PUT", target.haproxy_path(), config, headers=headers), 202)
    assert target.ask("GET", f"/1.0/loadbalancer/{LB}/haproxy").body == config


@pytest.mark.usefixtures("no_lb")
def test_trap_09_first_activation_is_a_reload(target: Target) -> None:
    """The reload of a haproxy that never ran starts it."""
    ok(target.ask("PUT", target.haproxy_path(), target.config()), 202)
    assert target.running() is None
    ok(target.ask("PUT", RELOAD), 202)
    assert target.running() is not None


@pytest.mark.usefixtures("no_lvs")
def test_trap_09_lvs_reload_makes_the_members(target: Target) -> None:
    """The reload of a UDP listener balances to the members of the last upload, and no others."""
    if not target.ipvs:
        pytest.skip("the kernel of this target cannot balance UDP")
    path = f"/1.0/listeners/{target.amphora_id}/{LISTENER}/udp_listener"
    pid_file = target.base / "lvs" / f"octavia-keepalivedlvs-{LISTENER}.pid"

    def members() -> set[bytes]:
        """As the kernel writes them: addresses in hexadecimal."""
        pid = (target.look().read(pid_file) or b"").decode().strip()
        table = target.look().read(PurePosixPath(f"/proc/{pid or 'none'}/net/ip_vs")) or b""
        lines = [line.split() for line in table.splitlines()]
        found = {words[1].partition(b":")[0] for words in lines if words[0] == b"->"}
        return found.intersection(_LVS_MEMBERS.values())

    def only(member: bytes) -> bool | None:
        return members() == {member} or None

    # The first reload is a start.
    for address, written in _LVS_MEMBERS.items():
        content = samples.lvs().replace(b"real_server 127.0.0.2", f"real_server {address}".encode())
        ok(target.ask("PUT", path, content), 200)
        ok(target.ask("PUT", f"/1.0/loadbalancer/{LISTENER}/reload"), 202)
        waiting.until(
            f"{address} alone to be a member",
            partial(only, written),
            deadline_s=_DEADLINE_S,
            every_s=0.5,
        )


@pytest.mark.usefixtures("plugged")
def test_trap_10_start_of_a_running_keepalived_is_no_restart(target: Target) -> None:
    """Starting VRRP again keeps the process: a restart would drop the VIP."""
    if not target.keepalived:
        pytest.skip("keepalived cannot be started on this target")
    ok(target.ask("PUT", "/1.0/vrrp/upload", samples.VRRP), 200)
    pid_file = target.base / "vrrp" / "octavia-keepalived.pid"
    pids = []
    try:
        for _ in range(2):
            ok(target.ask("PUT", "/1.0/vrrp/start"), 202)
            pids.append(target.look().read(pid_file))
    finally:
        ok(target.ask("PUT", "/1.0/vrrp/stop"), 202)
    assert pids[0] is not None
    assert pids[0] == pids[1]


def test_trap_11_what_is_gone_can_be_deleted(target: Target) -> None:
    """Deleting an unknown listener or certificate is 200."""
    ok(target.ask("DELETE", f"/1.0/listeners/{UNKNOWN}"), 200)
    ok(target.ask("DELETE", f"/1.0/loadbalancer/{UNKNOWN}/certificates/{'0' * 40}.pem"), 200)


def test_trap_11_second_plug_is_no_failure(target: Target, vip_nic: Nic) -> None:
    """A duplicate plug of the VIP is 409 or 2xx."""
    for _ in range(2):
        assert samples.plug_vip(target, vip_nic).status in {202, 409}


@pytest.mark.usefixtures("no_lb")
def test_trap_12_writes_may_be_sent_again_while_they_run(target: Target) -> None:
    """Uploads, reloads and deletes sent several times at once have one answer each."""
    config = target.config()
    for answer in at_once(lambda: target.ask("PUT", target.haproxy_path(), config)):
        ok(answer, 202)
        assert answer.headers["etag"] == md5(config)
    for answer in at_once(lambda: target.ask("PUT", PEM, b"x" * 10_000)):
        ok(answer, 200)
    for answer in at_once(lambda: target.ask("PUT", RELOAD)):
        ok(answer, 202)
    assert target.running() is not None
    for answer in at_once(lambda: target.ask("DELETE", f"/1.0/listeners/{LB}")):
        ok(answer, 200)
    assert target.running() is None


def test_trap_12_plug_during_a_plug(target: Target, vip_nic: Nic) -> None:
    """Plugs sent at once are 202 or 409, and after each answer the address is there."""

    def plug() -> Answer:
        answer = samples.plug_vip(target, vip_nic)
        there = target.ask("GET", f"/1.0/interface/{vip_nic.address(4)}")
        assert there.status == 200, (answer.status, there.status)
        return answer

    assert {answer.status for answer in at_once(plug)} <= {202, 409}


def test_trap_13_haproxy_version_has_no_epoch(target: Target) -> None:
    """The version in info begins with digits, a dot and digits."""
    major, minor, *_rest = target.ask("GET", "/1.0/info").json()["haproxy_version"].split(".")
    assert (major.isdecimal(), minor.isdecimal()) == (True, True)


@pytest.mark.parametrize(
    "odd", [b"", b"\xff\xfe\x00", b"frontend\n", b"frontend \n bind", b"\0" * 1000]
)
def test_trap_14_details_do_not_fail_for_an_odd_configuration(target: Target, odd: bytes) -> None:
    """An odd configuration of one load balancer neither fails details nor hides the others."""
    files = target.look()
    odd_one = "33333333-0000-4000-8000-0000000000dd"
    files.write(target.base / odd_one / "haproxy.cfg", odd)
    files.write(target.base / "not-a-uuid" / "haproxy.cfg", odd)
    ok(target.ask("PUT", target.haproxy_path(), target.config()), 202)
    try:
        answer = target.ask("GET", "/1.0/details")
        assert answer.status == 200
        assert LB in answer.json()["listeners"]
        assert target.ask("GET", "/1.0/listeners").status == 200
    finally:
        for found in (odd_one, LB):
            ok(target.ask("DELETE", f"/1.0/listeners/{found}"), 200)


@pytest.mark.usefixtures("no_lb")
@pytest.mark.parametrize("content", [b"a\r\nb\r\n", b"a\nb\n", b"a\rb", b"\x00\xff\xfe", b""])
def test_trap_15_md5_is_over_raw_bytes(target: Target, content: bytes) -> None:
    """The MD5 of CRLF, LF and binary content is that of the bytes that were sent."""
    ok(target.ask("PUT", PEM, content), 200)
    assert target.ask("GET", PEM).json()["md5sum"] == md5(content)


@pytest.mark.usefixtures("no_lb")
@pytest.mark.parametrize("name", [f"{'0f' * 20}.pem", f"{uuid.uuid4()}.pem"], ids=["sha1", "uuid"])
def test_trap_16_names_of_certificates_and_lists(target: Target, name: str) -> None:
    """A SHA-1 and a UUID are both names, over the same route."""
    path = f"/1.0/loadbalancer/{LB}/certificates/{name}"
    ok(target.ask("PUT", path, b"x"), 200)
    assert target.ask("GET", path).status == 200
    ok(target.ask("DELETE", path), 200)


@pytest.mark.usefixtures("no_lb")
@pytest.mark.parametrize(
    ("amphora_id", "name"),
    [
        ("00000000-0000-4000-8000-000000000001", "Mp7E9EPp3XUxn3cIFsXB7jN-ITQ"),
        ("00000000-0000-0000-0000-000000000064", "xC19DVJPYsH2CtfDhTe91ykairA"),
    ],
)
def test_trap_17_peer_name(target: Target, amphora_id: str, name: str) -> None:
    """haproxy is started with the peer name that the controller computes for the amphora."""
    assert peer_name(amphora_id) == name
    ok(target.ask("PUT", f"/1.0/loadbalancer/{amphora_id}/{LB}/haproxy", target.config()), 202)
    ok(target.ask("PUT", RELOAD), 202)
    words = target.running()
    assert words is not None
    assert words[words.index("-L") + 1] == name


@pytest.mark.usefixtures("no_lb")
def test_trap_18_group_comes_from_the_image(target: Target) -> None:
    """A configuration with and without `group` is taken, and what is stored has none."""
    config = target.config()
    with_group = config.replace(b"user nobody\n", b"user nobody\n    group nogroup\n")
    for sent in (config, with_group):
        ok(target.ask("PUT", target.haproxy_path(), sent), 202)
        stored = target.ask("GET", f"/1.0/loadbalancer/{LB}/haproxy").body
        assert b"nogroup" not in stored
        ok(target.ask("PUT", RELOAD), 202)


@pytest.mark.usefixtures("no_lb")
def test_trap_18_group_in_other_places_is_kept(target: Target) -> None:
    """Only the global section's `group` goes: the word may stand in a value elsewhere."""
    config = target.config(extra='    http-request set-header X-T "a group b"\n')
    ok(target.ask("PUT", target.haproxy_path(), config), 202)
    assert target.ask("GET", f"/1.0/loadbalancer/{LB}/haproxy").body == config


def test_trap_19_plug_is_answered_when_the_address_is_there(target: Target, vip_nic: Nic) -> None:
    """The interface of the base address is known as soon as the plug is answered."""
    assert samples.plug_vip(target, vip_nic).status in {202, 409}
    answer = target.ask("GET", f"/1.0/interface/{vip_nic.address(4)}")
    assert (answer.status, answer.json()["interface"]) == (200, "eth1")


def test_trap_20_interface_reflects_the_kernel(target: Target) -> None:
    """An address that stands in an interface file only is 404, as on a standby."""
    path = PurePosixPath("/etc/octavia/interfaces")
    files = target.look()
    config = (files.read(target.config_file) or b"").decode()
    for line in config.splitlines():
        if line.startswith("agent_server_network_dir"):
            path = PurePosixPath(line.partition("=")[2].strip())
    interface = {"name": "eth9", "addresses": [{"address": "192.0.2.78", "prefixlen": 24}]}
    files.write(path / "eth9.json", json.dumps(interface).encode())
    failed(target.ask("GET", "/1.0/interface/192.0.2.78"), 404)


def test_trap_21_rules_are_not_missing(target: Target, vip_nic: Nic) -> None:
    """Rules for the base address of a plugged NIC are taken: a 404 would be fatal."""
    assert samples.plug_vip(target, vip_nic).status in {202, 409}
    path = f"/1.0/interface/{vip_nic.address(4)}/rules"
    ok(target.ask_json("PUT", path, samples.rules()), 200)


def test_trap_22_unknown_configuration_is_accepted(target: Target) -> None:
    """Keys and sections of other releases are no reason to refuse a configuration."""
    content = target.look().read(target.config_file)
    assert content
    more = b"\n[a_new_section]\nkey = value\n[controller_worker]\nanother_key = 1\n"
    ok(target.ask("PUT", "/1.0/config", content + more), 202)
    ok(target.ask("PUT", "/1.0/config", content), 202)


def test_trap_33_vip_nic_is_eth1(target: Target, vip_nic: Nic) -> None:
    """Whatever the NIC was called, in the namespace it is eth1."""
    assert samples.plug_vip(target, vip_nic).status in {202, 409}
    names = target.look().read(target.base / "plugged_interfaces") or b""
    assert f"{vip_nic.mac} eth1" in names.decode().splitlines()


@pytest.mark.usefixtures("no_lvs")
def test_trap_36_lvs_configuration_is_kept_byte_by_byte(target: Target) -> None:
    """Comments, blanks at line ends and characters beyond ASCII are kept."""
    config = samples.lvs() + "# Member é is disabled  \n\n\n".encode()
    path = f"/1.0/listeners/{target.amphora_id}/{LISTENER}/udp_listener"
    ok(target.ask("PUT", path, config), 200)
    assert target.ask("GET", f"/1.0/listeners/{LISTENER}/udp_listener").body == config


def test_trap_44_html_entities_are_no_reason_to_refuse(target: Target) -> None:
    """A value with entities, as Jinja renders `&` and quotes, is accepted."""
    content = target.look().read(target.config_file)
    assert content
    more = b"\n[health_manager]\nheartbeat_key = a&amp;b&#34;c\n"
    ok(target.ask("PUT", "/1.0/config", content + more), 202)
    ok(target.ask("PUT", "/1.0/config", content), 202)


@pytest.mark.usefixtures("no_lb")
def test_trap_45_pid_file_is_of_the_master(target: Target) -> None:
    """The process in the pid file survives a reload; the stats socket stays there."""
    ok(target.ask("PUT", target.haproxy_path(), target.config()), 202)
    ok(target.ask("PUT", RELOAD), 202)
    files = target.look()
    before = files.read(target.base / LB / f"{LB}.pid")
    ok(target.ask("PUT", RELOAD), 202)
    assert files.read(target.base / LB / f"{LB}.pid") == before
    assert target.running() is not None
    assert f"{LB}.sock" in files.names(target.base)
