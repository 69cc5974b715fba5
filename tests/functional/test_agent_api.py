# SPDX-License-Identifier: Apache-2.0
"""The API over mutual TLS with the real haproxy."""

import hashlib
import os
import uuid
from ipaddress import IPv4Address

import pytest

from tests.functional.conftest import LOOPBACK, Place
from tests.functional.haproxy_configs import listener_config
from tests.support import http_member
from tests.support.mutual_tls import Client

LB = str(uuid.UUID("22222222-0000-4000-8000-000000000002"))
VIP = IPv4Address("198.51.100.9")
CERTIFICATE = f"{'a1' * 20}.pem"


def answering_members(agent: Place) -> set[str]:
    """Names that answer through the VIP."""
    return {http_member.fetch(agent.inner, VIP, 80).text for _ in range(4)}


@pytest.mark.parametrize("path", ["/", "//"])
def test_version_is_answered_with_one_and_two_slashes(controller: Client, path: str) -> None:
    """Version discovery asks for `//` and gets the exact version, not a redirect."""
    answer = controller.request("GET", path)
    assert (answer.status, answer.body) == (200, b'{"api_version":"1.0"}')


def test_info_has_the_haproxy_version_first(controller: Client) -> None:
    """The controller can cut two numbers off the haproxy version."""
    info = controller.request("GET", "/1.0/info").json()
    major, minor = info["haproxy_version"].split(".")[:2]
    assert (int(major), int(minor)) >= (2, 2)
    assert info["api_version"] == "1.0"
    assert info["hostname"]


def test_details_have_what_the_controller_reads(controller: Client) -> None:
    """Processors and memory in kB are numbers, tuned profiles are a string."""
    details = controller.request("GET", "/1.0/details").json()
    assert details["cpu_count"] >= 1
    assert isinstance(details["active_tuned_profiles"], str)
    for key in ("free", "buffers", "cached"):
        assert 0 <= details["memory"][key] <= details["memory"]["total"]


def test_unknown_path_is_a_json_object(controller: Client) -> None:
    """A 404 that is not JSON would make the controller ask again for ten minutes."""
    answer = controller.request("GET", "/1.0/nothing")
    assert answer.status == 404
    assert answer.json()["http_code"] == 404


def test_wrong_method_is_a_json_object(controller: Client) -> None:
    """A wrong method is 405 in the framework's shape."""
    answer = controller.request("POST", "/1.0/info")
    assert answer.status == 405
    assert answer.json()["error"].startswith("405 Method Not Allowed: ")


def test_oversize_body_is_a_code_that_controllers_know(controller: Client) -> None:
    """A body over the limit is 400: controllers would take 413 as success."""
    answer = controller.request(
        "PUT", f"/1.0/loadbalancer/{LB}/certificates/{CERTIFICATE}", bytes(17 * 1024 * 1024)
    )
    assert answer.status == 400


def test_certificate_md5_is_over_raw_bytes(controller: Client, agent: Place) -> None:
    """Upload, md5 and delete keep CRLF and binary bytes, and deleting twice is fine."""
    path = f"/1.0/loadbalancer/{LB}/certificates/{CERTIFICATE}"
    content = b"-----BEGIN\r\n\xff\x00-----END\r\n"
    digest = hashlib.md5(content).hexdigest()
    answer = controller.request("PUT", path, content)
    assert (answer.status, answer.headers["etag"]) == (200, digest)
    stored = agent.base / "certs" / LB / CERTIFICATE
    assert stored.read_bytes() == content
    assert stored.stat().st_mode & 0o777 == 0o600
    assert controller.request("GET", path).json() == {"md5sum": digest}
    assert controller.request("DELETE", path).status == 200
    assert controller.request("DELETE", path).status == 200
    gone = controller.request("GET", path)
    assert (gone.status, gone.json()["message"]) == (404, "Certificate Not Found")


@pytest.mark.parametrize("name", ["evilpemfile", "a.pem.bak", ".pem", "a%2F..%2Fb.pem"])
def test_certificate_name_may_not_be_another(controller: Client, name: str) -> None:
    """A name that is not one of a PEM file is refused, and nothing is written."""
    answer = controller.request("PUT", f"/1.0/loadbalancer/{LB}/certificates/{name}", b"x")
    assert answer.status in {400, 404}
    answer.json()


def test_action_unknown_is_told_before_existence(controller: Client) -> None:
    """An unknown action is 400, a known one on an unknown load balancer is 404."""
    unknown = controller.request("PUT", f"/1.0/loadbalancer/{LB}/haproxy")
    assert (unknown.status, unknown.json()["message"]) == (400, "Invalid Request")
    missing = controller.request("PUT", f"/1.0/loadbalancer/{LB}/RELOAD")
    assert (missing.status, missing.json()["message"]) == (404, "Loadbalancer Not Found")


def test_delete_of_an_unknown_load_balancer_succeeds(controller: Client) -> None:
    """Deleting what is not there is what was asked for."""
    assert controller.request("DELETE", f"/1.0/listeners/{LB}").status == 200


def test_load_balancer_lives_and_dies(controller: Client, agent: Place) -> None:
    """Upload, the first reload as a start, traffic, a refused upload, a reload, stop, delete."""
    upload = f"/1.0/loadbalancer/{agent.amphora_id}/{LB}/haproxy"
    agent.inner.ip("address", "add", f"{VIP}/32", "dev", "lo")
    one = listener_config(agent.base, LB, vip=str(VIP), ports={"one": 8081})
    both = listener_config(agent.base, LB, vip=str(VIP), ports={"one": 8081, "two": 8082})
    with (
        http_member.http_member(agent.inner, "one", LOOPBACK, 8081),
        http_member.http_member(agent.inner, "two", LOOPBACK, 8082),
    ):
        answer = controller.request("PUT", upload, one)
        assert (answer.status, answer.headers["etag"]) == (202, hashlib.md5(one).hexdigest())
        assert controller.request("PUT", f"/1.0/loadbalancer/{LB}/reload").status == 202
        assert answering_members(agent) == {"one"}

        refused = controller.request("PUT", upload, one + b"\nnonsense 1\n")
        assert (refused.status, refused.json()["message"]) == (400, "Invalid request")
        assert "nonsense" in refused.json()["details"]
        assert (agent.base / LB / "haproxy.cfg.new-failed").exists()
        assert controller.request("GET", f"/1.0/loadbalancer/{LB}/haproxy").body == one
        assert answering_members(agent) == {"one"}

        assert controller.request("PUT", upload, both).status == 202
        assert controller.request("PUT", f"/1.0/loadbalancer/{LB}/reload").status == 202
        assert answering_members(agent) == {"one", "two"}
        details = controller.request("GET", "/1.0/details").json()
        assert details["haproxy_count"] == 1
        assert details["listeners"] == [LB]

        assert controller.request("PUT", f"/1.0/loadbalancer/{LB}/stop").status == 202
        with pytest.raises(ConnectionRefusedError):
            answering_members(agent)
        assert controller.request("DELETE", f"/1.0/listeners/{LB}").status == 200
        assert not (agent.base / LB).exists()
        assert not (agent.base / f"{LB}.sock").exists()
        gone = controller.request("GET", f"/1.0/loadbalancer/{LB}/haproxy")
        assert gone.status == 404


def test_upload_that_cannot_start_says_why(controller: Client, agent: Place) -> None:
    """A configuration that is valid but cannot bind is 500 with haproxy's own words."""
    upload = f"/1.0/loadbalancer/{agent.amphora_id}/{LB}/haproxy"
    # Without ip_nonlocal_bind, which the image sets, an address that nobody has cannot be bound.
    config = listener_config(agent.base, LB, vip="203.0.113.77", ports={})
    assert controller.request("PUT", upload, config).status == 202
    answer = controller.request("PUT", f"/1.0/loadbalancer/{LB}/start")
    assert (answer.status, answer.json()["message"]) == (500, "Error starting haproxy")
    assert "203.0.113.77" in answer.json()["details"]


@pytest.mark.parametrize("offset", range(95, 105))
def test_upload_takes_multibyte_characters_anywhere(
    controller: Client, agent: Place, offset: int
) -> None:
    """A two-byte character at any offset is stored as it came; broken UTF-8 is 400."""
    upload = f"/1.0/loadbalancer/{agent.amphora_id}/{LB}/haproxy"
    comment = b"# " + b"x" * offset + "é".encode() + b"\n"
    config = comment + listener_config(agent.base, LB, vip="127.0.0.1", ports={})
    assert controller.request("PUT", upload, config).status == 202
    assert controller.request("GET", f"/1.0/loadbalancer/{LB}/haproxy").body == config
    assert controller.request("PUT", upload, config.replace(b"\xc3\xa9", b"\xc3")).status == 400


def test_upload_drops_group_of_the_global_section(controller: Client, agent: Place) -> None:
    """Old controllers send a group; the image's own file supplies it."""
    upload = f"/1.0/loadbalancer/{agent.amphora_id}/{LB}/haproxy"
    config = listener_config(agent.base, LB, vip="127.0.0.1", ports={})
    with_group = config.replace(b"user nobody\n", b"user nobody\n    group nogroup\n")
    assert controller.request("PUT", upload, with_group).status == 202
    assert controller.request("GET", f"/1.0/loadbalancer/{LB}/haproxy").body == config


def test_certificates_of_no_use_go_with_a_reload(controller: Client, agent: Place) -> None:
    """A replaced certificate goes when haproxy has the new one; what is in use or new stays."""
    names = [f"{digit * 40}.pem" for digit in "abcd"] + [f"{LB}.pem"]
    replaced, used, fresh, unread, crt_list = names
    directory = agent.base / "certs" / LB
    pem = agent.pki.amphora_pem(agent.amphora_id)

    def put(name: str, content: bytes) -> None:
        path = f"/1.0/loadbalancer/{LB}/certificates/{name}"
        assert controller.request("PUT", path, content).status == 200

    def push(certificate: str, *, action: str = "reload") -> int:
        put(crt_list, f"{directory}/{certificate}\n".encode())
        config = listener_config(agent.base, LB, vip="127.0.0.1", ports={})
        bind = f":8443 ssl crt-list {directory}/{crt_list}\n".encode()
        upload = f"/1.0/loadbalancer/{agent.amphora_id}/{LB}/haproxy"
        assert controller.request("PUT", upload, config.replace(b":80\n", bind)).status == 202
        return controller.request("PUT", f"/1.0/loadbalancer/{LB}/{action}").status

    def age() -> None:
        for path in directory.iterdir():
            os.utime(path, (0, 0))

    def stored() -> set[str]:
        return {path.name for path in directory.iterdir()}

    put(replaced, pem)
    assert push(replaced) == 202
    put(used, pem)
    age()
    put(fresh, pem)
    assert stored() == {replaced, used, fresh, crt_list}
    # A stop is no sign that haproxy has taken anything.
    assert push(used, action="stop") == 202
    assert stored() == {replaced, used, fresh, crt_list}
    assert push(used) == 202
    assert stored() == {used, fresh, crt_list}
    # A reload that fails removes nothing, as the old configuration goes on.
    put(unread, pem)
    age()
    (agent.base / LB / "haproxy.cfg").write_bytes(b"nonsense\n")
    assert controller.request("PUT", f"/1.0/loadbalancer/{LB}/reload").status == 500
    assert stored() == {used, fresh, unread, crt_list}
    assert controller.request("DELETE", f"/1.0/listeners/{LB}").status == 200
    assert not directory.exists()
