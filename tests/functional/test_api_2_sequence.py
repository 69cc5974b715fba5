# SPDX-License-Identifier: Apache-2.0
"""Whatever changes by both APIs come, haproxy is what a cold start would make of the files."""

import contextlib
import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from amphora_agent.errors import AgentError
from amphora_agent.system import haproxy_socket
from tests.functional.conftest import Place
from tests.functional.haproxy_configs import listener_config
from tests.functional.test_api_2 import JSON, PATH
from tests.support import documents, waiting
from tests.support.documents import LB_ID, Document
from tests.support.mutual_tls import Answer, RefusedError

pytestmark = pytest.mark.slow

SEED = 20
CHANGES = 500
# A look at both takes longer than most changes.
LOOK_EVERY = 3
_PORT = 8443
_DEADLINE_S = 30.0
# Columns of `show servers state` that are configured (management guide).
_COLUMNS = ("be_name", "srv_name", "srv_addr", "srv_port", "srv_uweight")
# Of the flags of maintenance, the one that says that it comes from the configuration.
_FROM_CONFIG = 0x04

# Servers, and the certificate of the listener.
Seen = tuple[list[tuple[str, ...]], bytes]


class Sequence:
    """Random requests, sent to an agent that may be killed meanwhile."""

    def __init__(self, place: Place, dice: random.Random) -> None:
        self._place = place
        self._dice = dice
        self._process = place.start()
        self._pems = [place.pki.amphora_pem(place.amphora_id).decode() for _ in range(3)]
        self.told: list[str] = []
        self.statuses: Counter[tuple[str, int]] = Counter()
        place.await_answer()

    def step(self) -> None:
        """Make one request, or a few that belong together."""
        kinds = {
            self._put: 8,
            self._put_dry: 1,
            self._roll_back: 4,
            self._delete: 1,
            self._upload: 4,
            self._certificate: 2,
            self._act: 3,
            self._delete_1_0: 1,
            self._put_to_an_agent_that_dies: 2,
        }
        self._dice.choices(list(kinds), list(kinds.values()))[0]()

    def stop(self) -> None:
        """Remove the load balancer, and end the agent."""
        try:
            assert self._ask("DELETE", PATH).status in {204, 409}
            assert self._ask("DELETE", f"/1.0/listeners/{LB_ID}").status == 200
            assert self._ask("DELETE", PATH).status == 204
        finally:
            self._process.terminate()
            self._process.wait(timeout=_DEADLINE_S)

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Any = None
    ) -> Answer:
        client = self._place.client(self._place.pki.controller)
        answer = client.request(method, path, body, headers=headers)
        self.told.append(f"{method} {path}: {answer.status}")
        self.statuses[(f"{method} {path.split('/')[1]}", answer.status)] += 1
        assert answer.status < 500, (self.told[-4:], answer.body)
        return answer

    def _document(self) -> Document:
        ports = self._dice.sample((8081, 8082, 8083), 3)
        members = [
            documents.member(
                number,
                ports[number],
                weight=self._dice.choice((0, 1, 5)),
                enabled=self._dice.random() < 0.8,
            )
            for number in range(self._dice.randint(0, 3))
        ]
        document = documents.http(*members, port=_PORT)
        if self._dice.random() < 0.7:
            return documents.with_tls(document, self._dice.choice(self._pems))
        return document

    def _put(self) -> None:
        answer = self._ask("PUT", PATH, documents.encoded(self._document()), JSON)
        assert answer.status in {200, 201}, answer.body

    def _put_dry(self) -> None:
        body = documents.encoded(self._document())
        assert self._ask("PUT", f"{PATH}?dry_run=1", body, JSON).status == 200

    def _roll_back(self) -> None:
        listed = self._ask("GET", f"{PATH}/revisions")
        if listed.status != 200:
            return
        numbers = [one["revision"] for one in listed.json()["revisions"]]
        body = json.dumps({"revision": self._dice.choice(numbers)}).encode()
        # After a delete by 1.0 the contents of certificates are gone.
        assert self._ask("POST", f"{PATH}/rollback", body, JSON).status in {200, 409}

    def _delete(self) -> None:
        # What 1.0 has made is not deleted by 2.0.
        assert self._ask("DELETE", PATH).status in {204, 409}

    def _upload(self) -> None:
        names = self._dice.sample(("a", "b", "c"), self._dice.randint(1, 3))
        ports = {name: self._dice.choice((8081, 8082)) for name in names}
        config = listener_config(self._place.base, LB_ID, vip="127.0.0.1", ports=ports)
        config = config.replace(b":80\n", b":%d\n" % _PORT)
        path = f"/1.0/loadbalancer/{self._place.amphora_id}/{LB_ID}/haproxy"
        assert self._ask("PUT", path, config).status == 202
        assert self._ask("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status == 202

    def _certificate(self) -> None:
        path = f"/1.0/loadbalancer/{LB_ID}/certificates/front.pem"
        pem = self._dice.choice(self._pems).encode()
        assert self._ask("PUT", path, pem).status == 200
        # There may be no load balancer to reload.
        assert self._ask("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status in {202, 404}

    def _act(self) -> None:
        action = self._dice.choice(("stop", "start", "reload"))
        assert self._ask("PUT", f"/1.0/loadbalancer/{LB_ID}/{action}").status in {202, 404}

    def _delete_1_0(self) -> None:
        assert self._ask("DELETE", f"/1.0/listeners/{LB_ID}").status == 200

    def _put_to_an_agent_that_dies(self) -> None:
        def talk() -> None:
            with contextlib.suppress(OSError, RefusedError, AssertionError):
                self._put()

        talking = threading.Thread(target=talk)
        talking.start()
        time.sleep(self._dice.uniform(0, 0.3))
        self._process.kill()
        self._process.wait(timeout=_DEADLINE_S)
        talking.join()
        self._process = self._place.start()
        self._place.await_answer()
        self.told.append("killed")


def servers(stats: Path) -> list[tuple[str, ...]]:
    """The configured part of each server's state."""
    said = haproxy_socket.query(stats, "show servers state", timeout_s=_DEADLINE_S)
    lines = said.splitlines()
    names = lines[1].removeprefix("# ").split()
    rows = [dict(zip(names, line.split(), strict=False)) for line in lines[2:] if line.strip()]
    return sorted(
        (*(row[column] for column in _COLUMNS), str(int(row["srv_admin_state"]) & ~_FROM_CONFIG))
        for row in rows
    )


def certificates(stats: Path) -> str:
    """Serial numbers and dates of the certificates that are loaded."""
    listed = haproxy_socket.query(stats, "show ssl cert", timeout_s=_DEADLINE_S)
    shown = [
        haproxy_socket.query(stats, f"show ssl cert {name}", timeout_s=_DEADLINE_S)
        for name in sorted(listed.splitlines())
        if name.startswith("/")
    ]
    return "\n".join(shown)


def assert_nothing_runs(place: Place, told: object) -> None:
    """No haproxy is there; one that was told to end may take a moment."""
    try:
        waiting.until(
            "haproxy to end",
            lambda: None if place.inner.pids() else True,
            deadline_s=5,
            every_s=0.02,
        )
    except waiting.DeadlinePassedError as exc:
        exc.add_note(str(told))
        raise


@contextmanager
def cold_start(place: Place) -> Iterator[Path]:
    """A haproxy of the stored files in another namespace; its stats socket."""
    stats, config = place.directory / "cold.sock", place.directory / "cold.cfg"
    stored = (place.base / LB_ID / "haproxy.cfg").read_text()
    config.write_text(stored.replace(f"{place.base}/{LB_ID}.sock", str(stats)))
    group = place.base / "haproxy-default-user-group.conf"
    process = subprocess.Popen(
        place.network.command("haproxy", "-db", "-f", str(config), "-f", str(group)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def probe() -> bool | None:
        try:
            return bool(haproxy_socket.query(stats, "show info", timeout_s=1))
        except AgentError:
            return None

    try:
        waiting.until("a cold start", probe, deadline_s=_DEADLINE_S, every_s=0.01)
        yield stats
    finally:
        process.kill()
        process.wait(timeout=_DEADLINE_S)
        stats.unlink(missing_ok=True)


def test_api_2_sequence_ends_where_a_cold_start_does(fresh_place: Place) -> None:
    """After any of 500 changes by both APIs, with kills among them, haproxy is as its files say."""
    place = fresh_place
    sequence = Sequence(place, random.Random(SEED))
    looks = 0
    try:
        for number in range(1, CHANGES + 1):
            sequence.step()
            if number % LOOK_EVERY:
                continue
            told = (number, sequence.told[-2 * LOOK_EVERY :])
            configured = (place.base / LB_ID / "haproxy.cfg").exists()
            if not configured or (place.base / LB_ID / "stopped").exists():
                assert_nothing_runs(place, told)
                continue
            running = place.base / f"{LB_ID}.sock"
            if not running.exists():
                # Uploaded, and never started.
                assert_nothing_runs(place, told)
                continue
            with cold_start(place) as cold:
                assert servers(running) == servers(cold), told
                assert certificates(running) == certificates(cold), told
            looks += 1
    finally:
        sequence.stop()
    assert looks > CHANGES / LOOK_EVERY / 3
    assert sequence.statuses[("PUT 2.0", 200)] > CHANGES / 10
    assert sequence.statuses[("POST 2.0", 200)] > CHANGES / 20
    assert "Traceback" not in place.log.read_text()
