# SPDX-License-Identifier: Apache-2.0
"""UDP and SCTP listeners over the API, with the real keepalived.

The kernel of a build machine may have no IPVS: what runs here is a listener without a pool.
"""

import hashlib
import os
import signal
import uuid

import pytest

from amphora_agent.operations import lvs
from tests.functional.conftest import Place
from tests.functional.haproxy_configs import listener_config
from tests.functional.keepalived_configs import lvs_config
from tests.support import need, waiting
from tests.support.mutual_tls import Client

LISTENER = str(uuid.UUID("55555555-0000-4000-8000-000000000005"))
LB = str(uuid.UUID("55555555-0000-4000-8000-000000000006"))
CONFIG = f"/1.0/listeners/{LISTENER}/udp_listener"


@pytest.fixture(autouse=True)
def nothing_left(controller: Client) -> None:
    """The listener is not there, whatever a test did before."""
    need.programs("keepalived")
    assert controller.request("DELETE", f"/1.0/listeners/{LISTENER}").status == 200


def upload(controller: Client, agent: Place, content: bytes) -> int:
    """PUT udp_listener, as Octavia's driver does."""
    path = f"/1.0/listeners/{agent.amphora_id}/{LISTENER}/udp_listener"
    return controller.request("PUT", path, content).status


def act(controller: Client, action: str) -> int:
    """PUT an action."""
    return controller.request("PUT", f"/1.0/loadbalancer/{LISTENER}/{action}").status


def parent_pid(agent: Place) -> int:
    """The process id in the pid file of the listener's keepalived."""
    return int((agent.base / f"lvs/octavia-keepalivedlvs-{LISTENER}.pid").read_text())


def test_lvs_config_is_stored_byte_for_byte(controller: Client, agent: Place) -> None:
    """What was uploaded comes back, is readable by all, and its MD5 is the ETag."""
    content = lvs_config(agent.inner.name, LISTENER, member="192.0.2.7") + "# é\r\n".encode()
    path = f"/1.0/listeners/{agent.amphora_id}/{LISTENER}/udp_listener"
    answer = controller.request("PUT", path, content)
    assert (answer.status, answer.body) == (200, b'{"message":"OK"}')
    assert answer.headers["etag"] == hashlib.md5(content).hexdigest()
    stored = agent.base / f"lvs/octavia-keepalivedlvs-{LISTENER}.conf"
    assert stored.read_bytes() == content
    assert stored.stat().st_mode & 0o777 == 0o644
    shown = controller.request("GET", CONFIG)
    assert (shown.status, shown.body) == (200, content)
    assert shown.headers["content-type"] == "text/plain; charset=UTF-8"
    assert "etag" not in shown.headers


def test_lvs_config_that_keepalived_refuses_changes_nothing(
    controller: Client, agent: Place
) -> None:
    """A refused file is 400 with keepalived's words, and the one before stays."""
    good = lvs_config(agent.inner.name, LISTENER, member="192.0.2.7")
    assert upload(controller, agent, good) == 200
    path = f"/1.0/listeners/{agent.amphora_id}/{LISTENER}/udp_listener"
    refused = controller.request("PUT", path, good + b"nonsense\n")
    assert (refused.status, refused.json()["message"]) == (400, "Invalid request")
    assert "nonsense" in refused.json()["details"]
    assert controller.request("GET", CONFIG).body == good


def test_lvs_upload_installs_the_check_of_udp_members(controller: Client, agent: Place) -> None:
    """The script that rendered monitors name is there after any upload, for root to run."""
    script = agent.base / "lvs/check/udp_check.sh"
    content = lvs_config(agent.inner.name, LISTENER)
    assert upload(controller, agent, content) == 200
    script.unlink()
    assert upload(controller, agent, content) == 200
    assert script.stat().st_mode & 0o777 == 0o100
    before = script.stat().st_ino
    assert upload(controller, agent, content) == 200
    assert script.stat().st_ino == before


def test_lvs_config_of_an_unknown_listener_is_404(controller: Client) -> None:
    """An unknown listener is told as such."""
    answer = controller.request("GET", CONFIG)
    assert (answer.status, answer.json()["message"]) == (404, "UDP Listener Not Found")


def test_lvs_listener_lives_and_dies(controller: Client, agent: Place) -> None:
    """Upload, reload as a start, reload, stop, delete, and each of them twice."""
    content = lvs_config(agent.inner.name, LISTENER)
    for _ in range(2):
        assert upload(controller, agent, content) == 200
    entry = {"status": "OFFLINE", "uuid": LISTENER, "type": "UDP"}
    assert controller.request("GET", "/1.0/listeners").json() == [entry]
    assert act(controller, "reload") == 202
    first = parent_pid(agent)
    assert act(controller, "start") == 202
    assert parent_pid(agent) == first
    assert act(controller, "RELOAD") == 202
    # A keepalived that does not reload well is another one afterwards.
    version = controller.request("GET", "/1.0/info").json()["keepalived_version"]
    assert (parent_pid(agent) == first) is lvs.reloads_well(version)
    assert controller.request("GET", "/1.0/listeners").json() == [{**entry, "status": "ACTIVE"}]
    details = controller.request("GET", "/1.0/details").json()
    assert (details["lvs_listener_process_count"], details["listeners"]) == (1, [LISTENER])
    for _ in range(2):
        assert act(controller, "stop") == 202
    assert controller.request("GET", "/1.0/listeners").json() == [entry]
    assert act(controller, "start") == 202
    last = parent_pid(agent)
    for _ in range(2):
        assert controller.request("DELETE", f"/1.0/listeners/{LISTENER}").status == 200
    assert not list((agent.base / "lvs").glob(f"*{LISTENER}*"))
    assert last not in agent.inner.pids()
    assert controller.request("GET", "/1.0/listeners").json() == []


def test_lvs_listener_that_died_is_an_error(controller: Client, agent: Place) -> None:
    """A keepalived that was killed makes its listener an ERROR, one that was stopped does not."""
    assert upload(controller, agent, lvs_config(agent.inner.name, LISTENER)) == 200
    assert act(controller, "start") == 202
    pid = parent_pid(agent)
    os.kill(pid, signal.SIGKILL)

    def status() -> bool | None:
        (entry,) = controller.request("GET", "/1.0/listeners").json()
        return entry["status"] == "ERROR" or None

    waiting.until("the listener to be an ERROR", status, deadline_s=10, every_s=0.05)


def test_lvs_listener_with_a_broken_pid_file_can_be_stopped(
    controller: Client, agent: Place
) -> None:
    """A pid file without a number, or with a foreign process, is no running listener."""
    assert upload(controller, agent, lvs_config(agent.inner.name, LISTENER)) == 200
    pid_file = agent.base / f"lvs/octavia-keepalivedlvs-{LISTENER}.pid"
    for text in ("", "no number\n", f"{os.getpid()}\n"):
        pid_file.write_text(text)
        assert act(controller, "stop") == 202
    assert controller.request("DELETE", f"/1.0/listeners/{LISTENER}").status == 200


def test_lvs_delete_completes_a_broken_off_one(controller: Client, agent: Place) -> None:
    """What a delete left that was killed after the configuration had gone, the next one removes."""
    stem = agent.base / f"lvs/octavia-keepalivedlvs-{LISTENER}"
    assert upload(controller, agent, lvs_config(agent.inner.name, LISTENER)) == 200
    stem.with_suffix(".conf").unlink()
    stem.with_suffix(".check.pid").write_text("1\n")
    assert controller.request("DELETE", f"/1.0/listeners/{LISTENER}").status == 200
    assert not stem.with_suffix(".check.pid").exists()


def test_lvs_delete_leaves_load_balancers_alone(controller: Client, agent: Place) -> None:
    """A delete of one id touches nothing of another, whichever program serves it."""
    config = listener_config(agent.base, LB, vip="127.0.0.1", ports={})
    put = f"/1.0/loadbalancer/{agent.amphora_id}/{LB}/haproxy"
    assert controller.request("PUT", put, config).status == 202
    assert upload(controller, agent, lvs_config(agent.inner.name, LISTENER)) == 200
    assert controller.request("DELETE", f"/1.0/listeners/{LISTENER}").status == 200
    assert controller.request("GET", f"/1.0/loadbalancer/{LB}/haproxy").body == config
    assert controller.request("DELETE", f"/1.0/listeners/{LB}").status == 200


def test_lvs_action_unknown_is_told_before_existence(controller: Client, agent: Place) -> None:
    """An unknown action is 400 whether the listener exists or not; a known one then 404."""
    answer = controller.request("PUT", f"/1.0/loadbalancer/{LISTENER}/dance")
    assert (answer.status, answer.json()["details"]) == (400, "Unknown action: dance")
    assert act(controller, "start") == 404
    assert upload(controller, agent, lvs_config(agent.inner.name, LISTENER)) == 200
    assert act(controller, "dance") == 400


@pytest.mark.parametrize("name", ["..", "%2e%2e", f"{LISTENER}.x", "certs"])
def test_lvs_id_must_be_an_id(controller: Client, agent: Place, name: str) -> None:
    """An id that is no UUID is a JSON 404, and nothing is written for it."""
    before = sorted(agent.base.rglob("*"))
    path = f"/1.0/listeners/{agent.amphora_id}/{name}/udp_listener"
    answer = controller.request("PUT", path, lvs_config(agent.inner.name, LISTENER))
    assert answer.status in {404, 405}
    answer.json()
    assert sorted(agent.base.rglob("*")) == before
