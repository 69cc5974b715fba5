# SPDX-License-Identifier: Apache-2.0
"""What the API does at its edges: large bodies, repeats, and what a killed agent has left."""

import hashlib
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.functional.conftest import LOOPBACK, Place
from tests.functional.haproxy_configs import listener_config
from tests.support import http_member
from tests.support.mutual_tls import Client

LB = str(uuid.UUID("88888888-0000-4000-8000-000000000008"))
MIB = 1024 * 1024


def upload_path(agent: Place) -> str:
    """PUT haproxy of the load balancer."""
    return f"/1.0/loadbalancer/{agent.amphora_id}/{LB}/haproxy"


@pytest.mark.parametrize(("size", "status"), [(16 * MIB, 200), (16 * MIB + 1, 400)])
def test_body_limit_is_16_mib(controller: Client, size: int, status: int) -> None:
    """A body of exactly the limit is taken, one byte more is 400, which drivers understand."""
    path = f"/1.0/loadbalancer/{LB}/certificates/{'c3' * 20}.pem"
    answer = controller.request("PUT", path, bytes(size))
    assert answer.status == status
    answer.json()


def test_large_config_is_stored_whole(controller: Client, agent: Place) -> None:
    """A configuration of more than a megabyte arrives byte for byte."""
    config = listener_config(agent.base, LB, vip="127.0.0.1", ports={})
    config += b"".join(b"# %d %s\n" % (line, b"x" * 100) for line in range(11_000))
    answer = controller.request("PUT", upload_path(agent), config)
    assert (answer.status, answer.headers["etag"]) == (202, hashlib.md5(config).hexdigest())
    shown = controller.request("GET", f"/1.0/loadbalancer/{LB}/haproxy")
    assert (shown.body, shown.headers["etag"]) == (config, hashlib.md5(config).hexdigest())


def test_writes_that_come_again_while_they_run_succeed(controller: Client, agent: Place) -> None:
    """Each write, sent four times at once, succeeds four times, and its effect is there."""
    config = listener_config(agent.base, LB, vip="127.0.0.1", ports={"one": 8081})
    with (
        http_member.http_member(agent.inner, "one", LOOPBACK, 8081),
        ThreadPoolExecutor(4) as pool,
    ):

        def four_times(method: str, path: str, body: bytes = b"") -> set[int]:
            statuses = pool.map(lambda _: controller.request(method, path, body).status, range(4))
            return set(statuses)

        assert four_times("PUT", upload_path(agent), config) == {202}
        for action in ("reload", "reload", "stop", "start"):
            assert four_times("PUT", f"/1.0/loadbalancer/{LB}/{action}") == {202}
        assert http_member.fetch(agent.inner, LOOPBACK, 80).text == "one"
        assert four_times("DELETE", f"/1.0/listeners/{LB}") == {200}
    assert not list(agent.base.glob(f"*{LB}*"))


def test_listeners_are_listed_with_their_types(controller: Client, agent: Place) -> None:
    """`GET listeners` is an array with the protocol of each frontend."""
    config = listener_config(agent.base, LB, vip="127.0.0.1", ports={})
    assert controller.request("PUT", upload_path(agent), config).status == 202
    answer = controller.request("GET", "/1.0/listeners")
    assert answer.json() == [{"uuid": LB, "status": "ACTIVE", "type": "HTTP"}]
    assert controller.request("DELETE", f"/1.0/listeners/{LB}").status == 200
    assert controller.request("GET", "/1.0/listeners").body == b"[]"


def test_details_survive_an_odd_configuration(controller: Client, agent: Place) -> None:
    """A stored file that is no text costs the list one entry, not the controller its update."""
    directory = agent.base / LB
    directory.mkdir()
    (directory / "haproxy.cfg").write_bytes(b"\xff\xfe")
    answer = controller.request("GET", "/1.0/details")
    assert (answer.status, answer.json()["listeners"]) == (200, [])
    assert controller.request("GET", "/1.0/listeners").status == 200
    assert controller.request("DELETE", f"/1.0/listeners/{LB}").status == 200


def test_what_the_system_refuses_is_told_without_a_traceback(
    controller: Client, agent: Place
) -> None:
    """A directory that cannot be made is 500 with the reason; afterwards all goes on."""
    (agent.base / LB).write_text("in the way")
    config = listener_config(agent.base, LB, vip="127.0.0.1", ports={})
    answer = controller.request("PUT", upload_path(agent), config)
    assert answer.status == 500
    assert str(agent.base / LB) in answer.json()["details"]
    (agent.base / LB).unlink()
    assert controller.request("PUT", upload_path(agent), config).status == 202


def test_new_agent_removes_what_a_killed_one_was_writing(fresh_place: Place) -> None:
    """Unfinished files vanish at the start, finished ones and other programs' files stay."""
    certificates = fresh_place.base / "certs" / LB
    certificates.mkdir(parents=True)
    unfinished = certificates / ".key.pem.abcdef12.tmp"
    kept = [
        certificates / "key.pem",
        certificates / ".hidden",
        fresh_place.base / ".stats_counters.json.abcdef12.tmp",
    ]
    for path in (unfinished, *kept):
        path.write_text("secret")
    process = fresh_place.start()
    try:
        fresh_place.await_answer()
        assert not unfinished.exists()
        assert all(path.exists() for path in kept)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
