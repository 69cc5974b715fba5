# SPDX-License-Identifier: Apache-2.0
"""Endpoints of API 1.0 about load balancers: successes, failures, side effects.

The numbers are those of the rows in the wire contract's endpoint table. Rows about files and about
the network have modules of their own.
"""

import pytest

from tests.conformance import samples
from tests.conformance.checks import failed, md5, ok
from tests.conformance.samples import CRT_LIST, PEM, action, certificate
from tests.conformance.target import LB, LISTENER, UNKNOWN, Target


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
