# SPDX-License-Identifier: Apache-2.0
"""What keepalived of a pair is told: the check scripts over the API, run against real programs."""

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.conftest import REPOSITORY, Place, make_place
from tests.functional.haproxy_configs import listener_config
from tests.functional.keepalived_configs import lvs_config, vrrp_config
from tests.support import need, pki, waiting
from tests.support.mutual_tls import Client

ADDRESS = "198.51.100.4"
# The second sorts after the first.
LBS = tuple(str(uuid.UUID(int=number, version=4)) for number in (1, 2))
LISTENER = str(uuid.UUID("55555555-0000-4000-8000-000000000005"))
PROGRAMS = REPOSITORY / "elements/amphora-agent/static/usr/local/bin"
_DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def place(authorities: pki.Pki) -> Iterator[Place]:
    """An amphora that is one of a pair, with its VIP's NIC plugged."""
    need.programs("keepalived", "nc")
    with make_place(authorities) as made:
        with made.config_file.open("a") as config:
            config.write("[controller_worker]\nloadbalancer_topology = ACTIVE_STANDBY\n")
        made.outer.ip("link", "set", "nic0", "name", "eth1", "netns", made.inner.name)
        made.inner.ip("address", "add", f"{ADDRESS}/24", "dev", "eth1")
        made.inner.ip("link", "set", "eth1", "up")
        yield made


@pytest.fixture(autouse=True)
def nothing_left(controller: Client, agent: Place) -> Iterator[None]:
    """Nothing is configured, and the check says so."""
    upload_vrrp(controller, agent)
    assert check(agent) == 1
    yield
    for object_id in (*LBS, LISTENER):
        assert controller.request("DELETE", f"/1.0/listeners/{object_id}").status == 200


def upload_vrrp(controller: Client, agent: Place) -> None:
    """PUT vrrp/upload."""
    config = vrrp_config(agent.base, interface="eth1", address=ADDRESS, vip="198.51.100.9")
    assert controller.request("PUT", "/1.0/vrrp/upload", config).status == 200


def upload_haproxy(controller: Client, agent: Place, lb_id: str) -> None:
    """PUT haproxy; every load balancer has an address of its own."""
    vip = f"127.0.0.{1 + LBS.index(lb_id)}"
    config = listener_config(agent.base, lb_id, vip=vip, ports={})
    path = f"/1.0/loadbalancer/{agent.amphora_id}/{lb_id}/haproxy"
    assert controller.request("PUT", path, config).status == 202


def upload_lvs(controller: Client, agent: Place) -> None:
    """PUT udp_listener, of one without a pool: it needs nothing of the kernel."""
    path = f"/1.0/listeners/{agent.amphora_id}/{LISTENER}/udp_listener"
    config = lvs_config(agent.inner.name, LISTENER)
    assert controller.request("PUT", path, config).status == 200


def act(controller: Client, object_id: str, action: str) -> None:
    """PUT an action."""
    assert controller.request("PUT", f"/1.0/loadbalancer/{object_id}/{action}").status == 202


def delete(controller: Client, object_id: str) -> None:
    """DELETE listeners."""
    assert controller.request("DELETE", f"/1.0/listeners/{object_id}").status == 200


def check(agent: Place) -> int:
    """Run the check as keepalived does; its status."""
    done = subprocess.run(
        [str(agent.base / "vrrp/check_script.sh")],
        env={"PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.stdout + done.stderr == b""
    return done.returncode


def await_check(agent: Place, status: int) -> None:
    """Wait until the check ends with a status."""
    waiting.until(
        f"the check to end with {status}",
        lambda: check(agent) == status or None,
        deadline_s=_DEADLINE_S,
        every_s=0.05,
    )


def haproxy_script(agent: Place) -> str | None:
    """What the script about haproxy does, without its comments."""
    file = agent.base / "vrrp/check_scripts/haproxy_check_script.sh"
    if not file.exists():
        return None
    return "\n".join(line for line in file.read_text().splitlines() if line[0] != "#")


def asks(agent: Place, *lb_ids: str) -> str:
    """The script that asks these load balancers."""
    return " ".join(
        ["exec haproxy-vrrp-check", *(str(agent.base / f"{lb_id}.sock") for lb_id in lb_ids)]
    )


def haproxy_pids(agent: Place, lb_id: str) -> list[int]:
    """Processes of a load balancer's haproxy: master and worker."""
    return [
        pid
        for pid in agent.inner.pids()
        if f"/{lb_id}/haproxy.cfg" in Path(f"/proc/{pid}/cmdline").read_text()
    ]


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to some processes, of which there are any."""
    assert pids
    for pid in pids:
        os.kill(pid, number)


# --- the table ----------------------------------------------------------------------------------


def test_check_without_anything_fails(agent: Place) -> None:
    """Before the first listener the amphora may hold no VIP."""
    assert haproxy_script(agent) == "exit 1"
    script = agent.base / "vrrp/check_script.sh"
    assert script.stat().st_mode & 0o777 == 0o755


def test_check_with_lvs_alone_leaves_haproxy_out(controller: Client, agent: Place) -> None:
    """With a UDP listener the script about haproxy goes, and what counts is keepalived."""
    upload_lvs(controller, agent)
    assert haproxy_script(agent) is None
    assert check(agent) == 0
    act(controller, LISTENER, "reload")
    assert check(agent) == 0
    delete(controller, LISTENER)
    assert check(agent) == 0


def test_check_asks_every_load_balancer(controller: Client, agent: Place) -> None:
    """Each load balancer with a configuration is asked, whether or not there are UDP listeners."""
    for lb_id in LBS:
        upload_haproxy(controller, agent, lb_id)
        act(controller, lb_id, "reload")
    assert haproxy_script(agent) == asks(agent, *LBS)
    assert check(agent) == 0
    upload_lvs(controller, agent)
    assert haproxy_script(agent) == asks(agent, *LBS)
    delete(controller, LBS[0])
    assert haproxy_script(agent) == asks(agent, LBS[1])
    delete(controller, LISTENER)
    assert haproxy_script(agent) == asks(agent, LBS[1])
    assert check(agent) == 0


def test_check_after_the_last_delete_keeps_the_vip(controller: Client, agent: Place) -> None:
    """Deleting the last load balancer takes the VIP from nobody, as often as it is repeated."""
    upload_haproxy(controller, agent, LBS[0])
    act(controller, LBS[0], "start")
    for _ in range(2):
        delete(controller, LBS[0])
        assert haproxy_script(agent) == asks(agent)
        assert check(agent) == 0


def test_check_script_that_is_missing_is_written_again(controller: Client, agent: Place) -> None:
    """A script that somebody removed, or made unexecutable, is there again after any action."""
    upload_haproxy(controller, agent, LBS[0])
    script = agent.base / "vrrp/check_script.sh"
    script.unlink()
    act(controller, LBS[0], "reload")
    assert check(agent) == 0
    script.chmod(0o600)
    act(controller, LBS[0], "reload")
    assert check(agent) == 0


def test_check_scripts_that_are_right_are_not_written(controller: Client, agent: Place) -> None:
    """A reload that changes nothing of the scripts leaves the files as they are."""
    upload_haproxy(controller, agent, LBS[0])
    act(controller, LBS[0], "reload")
    scripts = [path for path in (agent.base / "vrrp").rglob("*check*.sh") if path.is_file()]
    before = [path.stat().st_ino for path in scripts]
    act(controller, LBS[0], "reload")
    assert len(scripts) == 2
    assert [path.stat().st_ino for path in scripts] == before


def test_check_that_cannot_be_written_fails_the_request_first(
    controller: Client, agent: Place
) -> None:
    """Where the scripts cannot be written, nothing has been done of what was asked for."""
    upload_haproxy(controller, agent, LBS[0])
    act(controller, LBS[0], "start")
    pids = haproxy_pids(agent, LBS[0])
    scripts = agent.base / "vrrp/check_scripts"
    aside = scripts.rename(scripts.with_name("aside"))
    scripts.write_text("not a directory")
    try:
        for method, path in (
            ("PUT", f"/1.0/loadbalancer/{LBS[0]}/stop"),
            ("DELETE", f"/1.0/listeners/{LBS[0]}"),
        ):
            answer = controller.request(method, path)
            assert (answer.status, "check_scripts" in answer.body.decode()) == (500, True)
        assert haproxy_pids(agent, LBS[0]) == pids
    finally:
        scripts.unlink()
        aside.rename(scripts)
    act(controller, LBS[0], "reload")
    assert check(agent) == 0


# --- stops --------------------------------------------------------------------------------------


def test_check_leaves_out_what_was_stopped(controller: Client, agent: Place) -> None:
    """A load balancer that was stopped is not asked until it is started again."""
    for lb_id in LBS:
        upload_haproxy(controller, agent, lb_id)
        act(controller, lb_id, "start")
    act(controller, LBS[1], "stop")
    assert haproxy_script(agent) == asks(agent, LBS[0])
    assert check(agent) == 0
    # Nothing of this makes it come back ...
    act(controller, LBS[0], "reload")
    upload_vrrp(controller, agent)
    upload_haproxy(controller, agent, LBS[1])
    assert haproxy_script(agent) == asks(agent, LBS[0])
    # ... but a reload, which starts it.
    act(controller, LBS[1], "reload")
    assert haproxy_script(agent) == asks(agent, *LBS)


def test_check_leaves_out_the_stopped_over_a_restart_of_the_agent(fresh_place: Place) -> None:
    """An agent that is started anew knows what was stopped; and the last one may be."""
    need.programs("nc")
    place = fresh_place
    with place.config_file.open("a") as config:
        config.write("[controller_worker]\nloadbalancer_topology = ACTIVE_STANDBY\n")
    controller = place.client(place.pki.controller)
    for action in ("stop", "start"):
        process = place.start()
        try:
            place.await_answer()
            upload_haproxy(controller, place, LBS[0])
            if action == "stop":
                act(controller, LBS[0], "start")
                act(controller, LBS[0], "stop")
            else:
                upload_lvs(controller, place)
            assert haproxy_script(place) == asks(place)
            assert check(place) == 0
            if action == "start":
                act(controller, LBS[0], "start")
                assert haproxy_script(place) == asks(place, LBS[0])
                assert check(place) == 0
        finally:
            process.terminate()
            process.wait(timeout=_DEADLINE_S)


def test_check_of_a_single_amphora_is_not_written(fresh_place: Place) -> None:
    """Without a pair and without VRRP there are no scripts."""
    process = fresh_place.start()
    try:
        fresh_place.await_answer()
        controller = fresh_place.client(fresh_place.pki.controller)
        upload_haproxy(controller, fresh_place, LBS[0])
        act(controller, LBS[0], "start")
        assert not (fresh_place.base / "vrrp").exists()
        delete(controller, LBS[0])
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)


# --- failures -----------------------------------------------------------------------------------


def test_check_sees_a_haproxy_that_died(controller: Client, agent: Place) -> None:
    """A haproxy that was killed is missed, and one that is started again is not."""
    for lb_id in LBS:
        upload_haproxy(controller, agent, lb_id)
        act(controller, lb_id, "start")
    assert check(agent) == 0
    for count, lb_id in enumerate(LBS, 1):
        signal_all(haproxy_pids(agent, lb_id), signal.SIGKILL)
        await_check(agent, count)
    for lb_id in LBS:
        act(controller, lb_id, "start")
    assert check(agent) == 0


def test_check_sees_a_haproxy_that_hangs(controller: Client, agent: Place) -> None:
    """A haproxy that is there but does not answer is missed, and not when it does again."""
    upload_haproxy(controller, agent, LBS[0])
    act(controller, LBS[0], "start")
    pids = haproxy_pids(agent, LBS[0])
    signal_all(pids, signal.SIGSTOP)
    try:
        assert check(agent) == 1
    finally:
        signal_all(pids, signal.SIGCONT)
    assert check(agent) == 0


def test_check_sees_a_listener_that_died(controller: Client, agent: Place) -> None:
    """A keepalived that was killed is missed; one that was stopped is not."""
    upload_lvs(controller, agent)
    act(controller, LISTENER, "start")
    assert check(agent) == 0
    pid = int((agent.base / f"lvs/octavia-keepalivedlvs-{LISTENER}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    await_check(agent, 1)
    act(controller, LISTENER, "reload")
    assert check(agent) == 0
    act(controller, LISTENER, "stop")
    assert check(agent) == 0


@pytest.mark.parametrize("content", ["", "none\n", "1\n", "999999999\n"])
def test_check_sees_a_process_id_of_something_else(
    controller: Client, agent: Place, content: str
) -> None:
    """A file that names no keepalived is one of a dead one, and a delete takes it away."""
    upload_lvs(controller, agent)
    file = agent.base / f"lvs/octavia-keepalivedlvs-{LISTENER}.pid"
    file.write_text(content)
    # Those of keepalived's own children say nothing.
    for ending in ("vrrp.pid", "check.pid"):
        file.with_suffix(f".{ending}").write_text("none\n")
    assert check(agent) == 1
    delete(controller, LISTENER)
    assert check(agent) == 0


def test_check_adds_up_what_fails(controller: Client, agent: Place) -> None:
    """The status is the sum of all scripts' statuses, and never 0 by an overflow."""
    upload_lvs(controller, agent)
    scripts = agent.base / "vrrp/check_scripts"
    try:
        for name, text, total in (
            ("a.sh", "exit 3\n", 3),
            ("b b.sh", "exit 4\n", 7),
            ("c.sh", "exit 249\n", 255),
            ("d.sh", "cd /; failed=0; exit 255\n", 255),
        ):
            (scripts / name).write_text(text)
            assert check(agent) == total
    finally:
        for name in ("a.sh", "b b.sh", "c.sh", "d.sh"):
            (scripts / name).unlink()
    assert check(agent) == 0
