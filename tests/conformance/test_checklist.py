# SPDX-License-Identifier: Apache-2.0
"""The wire contract's conformance checklist, as far as it concerns the API.

The numbers are those of the checklist; what a row or a trap has a test for is not repeated here.
"""

import ssl
from pathlib import Path

import pytest

from tests.conformance import samples
from tests.conformance.checks import failed, framework, md5, ok
from tests.conformance.target import LB, Nic, Target

HAPROXY = f"/1.0/loadbalancer/{LB}/haproxy"
_HELLO = b"GET // HTTP/1.1\r\nHost: x\r\n\r\n"


def refused(target: Target, identity: Path | None) -> bool:
    """Whether a client with this certificate gets no answer."""
    try:
        with target.connect(identity=identity) as session:
            session.sendall(_HELLO)
            # With TLS 1.3 the client learns of the refusal when it reads.
            return session.recv(100) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def test_10_01_client_without_a_certificate_is_refused(target: Target) -> None:
    """Nobody is answered without a certificate; a controller is."""
    assert refused(target, None)
    assert not refused(target, target.controller)


def test_10_01_client_of_another_authority_is_refused(target: Target) -> None:
    """A certificate of an authority that the amphora does not know gets no answer."""
    if target.stranger is None:
        pytest.skip("this target names no stranger")
    assert refused(target, target.stranger)


def test_10_01_amphora_is_no_controller(target: Target, tmp_path: Path) -> None:
    """The certificate of an amphora does not open the API of one."""
    if target.mint is None:
        pytest.skip("no certificate can be made for this target")
    path = tmp_path / "amphora.pem"
    path.write_bytes(target.mint())
    assert refused(target, path)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_10_01_tls_versions_of_controllers_are_spoken(
    target: Target, version: ssl.TLSVersion
) -> None:
    """TLS 1.2 and 1.3 both work."""
    with target.connect(identity=target.controller, version=version) as session:
        session.sendall(_HELLO)
        assert session.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_10_01_tls_1_1_is_refused(target: Target) -> None:
    """TLS 1.1 is not spoken by default."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        target.connect(identity=target.controller, version=ssl.TLSVersion.TLSv1_1)


def test_10_01_plain_http_gets_no_answer(target: Target) -> None:
    """A client that speaks no TLS is not answered, and the next one is."""
    with target.connect_plain() as plain:
        plain.sendall(_HELLO)
        try:
            said = plain.recv(4096)
        except ConnectionError:
            said = b""
    assert b"api_version" not in said
    assert not refused(target, target.controller)


def test_10_02_unknown_path_and_wrong_method_are_json(target: Target) -> None:
    """An unknown path is 404 and a wrong method 405, in the framework's shape."""
    framework(target.ask("GET", "/1.0/nothing"), 404)
    answer = target.ask("POST", "/1.0/info")
    framework(answer, 405)
    assert "GET" in answer.headers["allow"]


@pytest.mark.usefixtures("no_lb")
def test_10_04_multibyte_character_at_every_offset(target: Target) -> None:
    """Characters of two, three and four bytes are kept wherever they stand."""
    config = target.config()
    for offset, letter in enumerate("é€😀" * 12):
        sent = b"# " + b"x" * (80 + offset) + letter.encode() + b"\n" + config
        ok(target.ask("PUT", target.haproxy_path(), sent), 202)
        assert target.ask("GET", HAPROXY).body == sent


@pytest.mark.usefixtures("no_lb")
def test_10_04_broken_utf8_is_refused(target: Target) -> None:
    """A configuration that is not UTF-8 is 400, and the one before stays."""
    config = target.config()
    ok(target.ask("PUT", target.haproxy_path(), config), 202)
    failed(target.ask("PUT", target.haproxy_path(), b"# \xc3(\n" + config), 400)
    assert target.ask("GET", HAPROXY).body == config


@pytest.mark.usefixtures("no_lb")
def test_10_04_configuration_of_a_megabyte(target: Target) -> None:
    """A configuration of 1 MB is taken and given back."""
    config = target.config() + b"# comment\n" * 100_000
    answer = target.ask("PUT", target.haproxy_path(), config)
    ok(answer, 202)
    assert answer.headers["etag"] == md5(config)
    assert target.ask("GET", HAPROXY).body == config


@pytest.mark.usefixtures("no_lb")
def test_10_04_chunked_body_is_taken_whole(target: Target) -> None:
    """A body in chunks is taken as if it had a length, or refused; it is never cut."""
    config = target.config()
    head = f"PUT {target.haproxy_path()} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(config), config)
    with target.connect(identity=target.controller) as session:
        session.sendall(head.encode() + chunks)
        status = int(session.recv(4096).split()[1])
    assert status in {202, 400}
    stored = target.ask("GET", HAPROXY)
    assert (stored.status, stored.body) == (200, config) if status == 202 else True
    assert stored.status == (200 if status == 202 else 404)


@pytest.mark.usefixtures("no_lb")
def test_10_04_broken_off_upload_changes_nothing(target: Target) -> None:
    """When the controller goes away in the middle of a body, the stored text stays."""
    config = target.config()
    ok(target.ask("PUT", target.haproxy_path(), config), 202)
    head = f"PUT {target.haproxy_path()} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(config)}\r\n"
    with target.connect(identity=target.controller) as session:
        session.sendall(head.encode() + b"\r\n" + config[: len(config) // 2])
    assert target.ask("GET", HAPROXY).body == config


def test_10_07_plug_of_a_missing_nic_leaves_nothing(target: Target) -> None:
    """A plug that finds no NIC does not record one."""
    answer = target.ask_json("POST", "/1.0/plug/vip/198.51.100.9", samples.vip_plug())
    failed(answer, 404)
    names = target.look().read(target.base / "plugged_interfaces") or b""
    assert samples.MISSING_MAC.encode() not in names


def test_10_07_subnets_that_are_gone_are_removed(target: Target) -> None:
    """Of a port that had two subnets and has one, the other one's address goes, and comes back."""
    nic = target.member_nic
    if nic is None:
        pytest.skip("this target has no NIC for members")
    one, two = samples.fixed_ip(nic, 5), samples.fixed_ip(nic, 6)
    for fixed_ips in ([one, two], [one], [two], [one]):
        ok(samples.plug_network(target, nic, fixed_ips=fixed_ips), 202)
        for fixed_ip in (one, two):
            answer = target.ask("GET", f"/1.0/interface/{fixed_ip['ip_address']}")
            assert answer.status == (200 if fixed_ip in fixed_ips else 404), fixed_ips


def test_10_07_additional_vips_survive_a_member_plug(target: Target, vip_nic: Nic) -> None:
    """Members on the VIP's NIC, whose plug names no additional VIPs, take none away."""
    if target.ask("GET", "/1.0/details").json()["topology"] != "SINGLE":
        pytest.skip("of a pair keepalived holds the VIPs")
    more = {"ip_address": str(vip_nic.address(10)), "subnet_cidr": str(vip_nic.network)}
    vip_plug = samples.vip_plug(vip_nic) | {"vip": samples.vip_of(target)}
    member = samples.network_plug(vip_nic, fixed_ips=[samples.fixed_ip(vip_nic, 20)])
    try:
        assert samples.plug_vip(target, vip_nic, additional_vips=[more]).status in {202, 409}
        for _ in range(2):
            ok(samples.plug_network(target, **member, vip_net_info=vip_plug), 202)
            for host in (4, 9, 10, 20):
                answer = target.ask("GET", f"/1.0/interface/{vip_nic.address(host)}")
                assert (answer.status, answer.json()["interface"]) == (200, "eth1"), host
    finally:
        ok(samples.plug_network(target, **{**member, "fixed_ips": []}), 202)
        assert samples.plug_vip(target, vip_nic).status in {202, 409}
    for host in (10, 20):
        assert target.ask("GET", f"/1.0/interface/{vip_nic.address(host)}").status == 404
