# SPDX-License-Identifier: Apache-2.0
"""One request takes long: others go on, and the same one that comes again waits for it.

A haproxy that does not end its check until it is let go makes the first one long; the rest of it
is the real one.
"""

import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.conftest import Place
from tests.functional.haproxy_configs import listener_config
from tests.support import need, waiting
from tests.support.mutual_tls import Answer, Client

SLOW = str(uuid.UUID("99999999-0000-4000-8000-000000000001"))
OTHER = str(uuid.UUID("99999999-0000-4000-8000-000000000002"))
_DEADLINE_S = 30.0

_HAPROXY = """#!/bin/sh
case " $* " in
*" -c "*/{slow}/*) ;;
*) exec {haproxy} "$@" ;;
esac
echo begin >> {log}
while [ -e {gate} ]; do sleep 0.05; done
{haproxy} "$@"
status=$?
echo end >> {log}
exit $status
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """What holds the checks of one load balancer up.

    Attributes:
        closed: as long as this file is there, no check ends.
        log: a line when a check begins, and one when it ends.
    """

    closed: Path
    log: Path

    def open(self) -> None:
        """Let all checks go, now and from now on."""
        self.closed.unlink()

    def lines(self) -> list[str]:
        """What was noted."""
        return self.log.read_text().split() if self.log.exists() else []

    def await_check(self) -> None:
        """Wait until a check is held up."""
        waiting.until(
            "a check", lambda: bool(self.lines()) or None, deadline_s=_DEADLINE_S, every_s=0.05
        )


@pytest.fixture
def gate(fresh_place: Place) -> Gate:
    """A closed gate in the place's haproxy."""
    need.programs("haproxy")
    directory = fresh_place.directory
    made = Gate(closed=directory / "closed", log=directory / "checks.log")
    made.closed.touch()
    program = directory / "haproxy"
    program.write_text(
        _HAPROXY.format(slow=SLOW, haproxy=shutil.which("haproxy"), log=made.log, gate=made.closed)
    )
    program.chmod(0o755)
    config = fresh_place.config_file
    config.write_text(f"{config.read_text()}[haproxy_amphora]\nhaproxy_cmd = {program}\n")
    return made


@pytest.fixture
def slow_agent(fresh_place: Place, gate: Gate) -> Iterator[Client]:
    """A controller of an agent whose haproxy has the gate."""
    process = fresh_place.start()
    try:
        fresh_place.await_answer()
        yield fresh_place.client(fresh_place.pki.controller)
    finally:
        gate.closed.unlink(missing_ok=True)
        process.terminate()
        process.wait(timeout=_DEADLINE_S)
    assert "Traceback" not in fresh_place.log.read_text()


def upload(place: Place, client: Client, lb_id: str, port: int) -> Answer:
    """PUT haproxy of a load balancer."""
    config = listener_config(place.base, lb_id, vip="127.0.0.1", ports={"one": 8081})
    return client.request(
        "PUT",
        f"/1.0/loadbalancer/{place.amphora_id}/{lb_id}/haproxy",
        config.replace(b":80\n", b":%d\n" % port),
    )


def test_other_resources_go_on_while_one_request_takes_long(
    fresh_place: Place, gate: Gate, slow_agent: Client
) -> None:
    """While a check hangs, another load balancer lives and dies, and all else is answered."""
    place, client = fresh_place, slow_agent
    pem = place.pki.amphora_pem(place.amphora_id)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(upload, place, client, SLOW, 8000)
        gate.await_check()
        assert upload(place, client, OTHER, 8001).status == 202
        for method, path, body, status in (
            ("PUT", f"/1.0/loadbalancer/{OTHER}/certificates/{'a' * 40}.pem", b"x", 200),
            ("PUT", f"/1.0/loadbalancer/{OTHER}/reload", b"", 202),
            ("GET", "/1.0/info", b"", 200),
            ("GET", "/1.0/details", b"", 200),
            ("GET", "/1.0/listeners", b"", 200),
            ("PUT", "/1.0/certificate", pem, 202),
            ("PUT", "/1.0/config", place.config_file.read_bytes(), 202),
            ("PUT", "/1.0/vrrp/stop", b"", 202),
            ("POST", "/1.0/plug/network", b'{"mac_address":"02:00:00:00:00:fe"}', 404),
            ("DELETE", f"/1.0/listeners/{OTHER}", b"", 200),
        ):
            assert client.request(method, path, body).status == status, path
        assert not first.done()
        gate.open()
        assert first.result().status == 202


def test_request_that_comes_again_waits_and_gets_the_same_answer(
    fresh_place: Place, gate: Gate, slow_agent: Client
) -> None:
    """An upload that is sent again while the first runs is done after it, with one answer."""
    place, client = fresh_place, slow_agent
    with ThreadPoolExecutor(3) as pool:
        calls: list[Future[Answer]] = [pool.submit(upload, place, client, SLOW, 8000)]
        gate.await_check()
        calls.append(pool.submit(upload, place, client, SLOW, 8000))
        reload = pool.submit(client.request, "PUT", f"/1.0/loadbalancer/{SLOW}/reload")
        # Long enough for both to arrive: the first check would be overtaken now.
        for _ in range(20):
            assert client.request("GET", "/").status == 200
        assert gate.lines() == ["begin"]
        assert not any(call.done() for call in (*calls, reload))
        gate.open()
        answers = [call.result() for call in calls]
        assert [answer.status for answer in answers] == [202, 202]
        assert answers[0].body == answers[1].body
        assert answers[0].headers["etag"] == answers[1].headers["etag"]
        # Whether it came before or after the second upload, there was a configuration by then.
        assert reload.result().status == 202
    # Never two at once. The second upload needs no check if the reload has come before it: haproxy
    # runs the very same text by then.
    checks = gate.lines()
    assert checks == ["begin", "end"] * (len(checks) // 2)
    assert client.request("DELETE", f"/1.0/listeners/{SLOW}").status == 200
