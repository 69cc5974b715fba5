# SPDX-License-Identifier: Apache-2.0
"""Any sequence of changes ends where a cold start of the stored files would."""

import contextlib
import os
import random
import signal
import socket
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from amphora_agent import haproxyservers
from amphora_agent.errors import AgentError
from amphora_agent.system import haproxy_socket
from amphora_agent.system.haproxy import HaproxyProgram
from tests.functional.conftest import HAPROXY, Place
from tests.support import hitless, waiting
from tests.support.hitless import Member, Model
from tests.support.mutual_tls import RefusedError
from tests.support.netns import Namespace

pytestmark = pytest.mark.slow

LB = str(uuid.UUID("55555555-0000-4000-8000-000000000002"))
SEED = 5
CHANGES = 500
# A look at both takes longer than most changes.
LOOK_EVERY = 4
NAMES = ("a", "b", "c", "d", "e")
_DEADLINE_S = 30.0

# Servers, certificates shown without a name and for each name, and the connections allowed.
Seen = tuple[dict[haproxyservers.Key, haproxyservers.State], list[bytes], str]


class Sequence:
    """Random changes, sent to an agent that may be killed meanwhile."""

    def __init__(self, place: Place, dice: random.Random) -> None:
        self._place = place
        self._dice = dice
        self._process = place.start()
        self._hosts = [str(uuid.UUID(int=number + 1)) for number in range(4)]
        self._pems = [place.pki.amphora_pem(uuid.UUID(host)) for host in self._hosts]
        self.model = Model(members={"a": Member(port=8081)}, check=True)
        self.told: list[str] = []
        place.await_answer()

    def stop(self) -> None:
        """End the agent, and before it what it runs."""
        try:
            self._ask("DELETE", f"/1.0/listeners/{LB}")
        finally:
            self._process.terminate()
            self._process.wait(timeout=_DEADLINE_S)

    def step(self) -> None:
        """Make one change, in the end told with success."""
        kinds = {
            self._weight: 6,
            self._enabled: 4,
            self._address: 3,
            self._add: 4,
            self._remove: 4,
            self._renew: 4,
            self._certificates: 1,
            self._limit: 1,
            self._balance: 1,
            self._nothing: 1,
            self._kill_haproxy: 1,
        }
        chosen = self._dice.choices(list(kinds), list(kinds.values()))[0]
        chosen()
        if self._dice.random() < 0.06:
            self._push_to_an_agent_that_dies()
        self.push()

    def push(self) -> None:
        """Upload everything and reload."""
        for index, pem in enumerate(self._pems):
            self._ask("PUT", self._path(f"certificates/{index:040d}.pem"), pem)
        listed = self.model.certificate_list().encode()
        self._ask("PUT", self._path(f"certificates/{LB}.pem"), listed)
        config = self.model.config(self._place.base, LB).encode()
        self._ask("PUT", f"/1.0/loadbalancer/{self._place.amphora_id}/{LB}/haproxy", config)
        self.told.append(self._ask("PUT", self._path("reload")))

    def see(self, inside: Namespace, stats: Path) -> Seen:
        """What a haproxy of this configuration is."""
        shown = []
        if self.model.certificates:
            shown = [_certificate(inside, name) for name in (None, *self._hosts)]
        info = haproxy_socket.query(stats, "show info", timeout_s=_DEADLINE_S)
        limit = next(line for line in info.splitlines() if line.startswith("Maxconn: "))
        return hitless.servers(stats), shown, limit

    def _ask(self, method: str, path: str, body: bytes | None = None) -> str:
        answer = self._place.client(self._place.pki.controller).request(method, path, body)
        assert answer.status in {200, 202}, (method, path, answer.body, self.told[-3:])
        return answer.body.decode()

    def _path(self, rest: str) -> str:
        return f"/1.0/loadbalancer/{LB}/{rest}"

    def _push_to_an_agent_that_dies(self) -> None:
        def talk() -> None:
            with contextlib.suppress(OSError, RefusedError, AssertionError):
                self.push()

        talking = threading.Thread(target=talk)
        talking.start()
        time.sleep(self._dice.uniform(0, 0.15))
        self._process.kill()
        self._process.wait(timeout=_DEADLINE_S)
        talking.join()
        self._process = self._place.start()
        self._place.await_answer()

    def _some(self) -> str:
        return self._dice.choice(sorted(self.model.members))

    def _with(self, name: str, member: Member) -> None:
        self.model = replace(self.model, members={**self.model.members, name: member})

    def _weight(self) -> None:
        name = self._some()
        weight = self._dice.choice((0, 1, 2, 5, 256))
        self._with(name, replace(self.model.members[name], weight=weight))

    def _enabled(self) -> None:
        name = self._some()
        member = self.model.members[name]
        self._with(name, replace(member, enabled=not member.enabled))

    def _address(self) -> None:
        name = self._some()
        port, address = (
            self._dice.randint(8081, 8085),
            self._dice.choice(("127.0.0.1", "127.0.0.2")),
        )
        self._with(name, replace(self.model.members[name], port=port, address=address))

    def _add(self) -> None:
        name = self._dice.choice(NAMES)
        enabled = self._dice.random() < 0.8
        self._with(name, Member(port=8081, weight=self._dice.randint(0, 9), enabled=enabled))

    def _remove(self) -> None:
        if len(self.model.members) > 1:
            members = dict(self.model.members)
            del members[self._some()]
            self.model = replace(self.model, members=members)

    def _renew(self) -> None:
        index = self._dice.randrange(len(self._pems))
        self._pems[index] = self._place.pki.amphora_pem(uuid.UUID(self._hosts[index]))

    def _certificates(self) -> None:
        directory = self._place.base / "certs" / LB
        indexes = self._dice.sample(range(len(self._pems)), self._dice.randint(0, 2))
        paths = tuple(str(directory / f"{index:040d}.pem") for index in indexes)
        self.model = replace(self.model, certificates=paths)

    def _limit(self) -> None:
        self.model = replace(self.model, limit=self._dice.choice((500, 501)))

    def _balance(self) -> None:
        self.model = replace(self.model, balance=self._dice.choice(("leastconn", "source")))
        if self._dice.random() < 0.7:
            self.model = replace(self.model, balance="roundrobin")

    def _nothing(self) -> None:
        """The same again."""

    def _kill_haproxy(self) -> None:
        pids = self._place.inner.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        gone = lambda: None if self._place.inner.pids() else True  # noqa: E731
        waiting.until("haproxy to end", gone, deadline_s=_DEADLINE_S, every_s=0.01)


def _certificate(inside: Namespace, name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with inside.entered():
        plain = socket.create_connection((str(hitless.VIP), hitless.TLS_PORT), _DEADLINE_S)
    with plain, context.wrap_socket(plain, server_hostname=name) as connection:
        return connection.getpeercert(binary_form=True) or b""


@contextmanager
def cold_start(place: Place, directory: Path) -> Iterator[Path]:
    """A haproxy of its own, of the stored files, in another namespace; its stats socket."""
    stats = directory / "cold.sock"
    config = directory / "cold.cfg"
    stored = (place.base / LB / "haproxy.cfg").read_text()
    config.write_text(stored.replace(f"{place.base}/{LB}.sock", str(stats)))
    group = place.base / "haproxy-default-user-group.conf"
    with (directory / "cold.log").open("wb") as log:
        process = subprocess.Popen(
            place.network.command(HAPROXY, "-db", "-f", str(config), "-f", str(group)),
            stdout=log,
            stderr=log,
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


def test_hitless_sequence_ends_where_a_cold_start_does(fresh_place: Place) -> None:
    """After any of hundreds of changes, with kills among them, haproxy is as its files say.

    Most of them need no reload, so it is not the reloads that make it so.
    """
    place = fresh_place
    dice = random.Random(SEED)
    sequence = Sequence(place, dice)
    try:
        sequence.push()
        for number in range(1, CHANGES + 1):
            sequence.step()
            if number % LOOK_EVERY:
                continue
            running = sequence.see(place.inner, place.base / f"{LB}.sock")
            with cold_start(place, place.directory) as stats:
                cold = sequence.see(place.network, stats)
            assert running == cold, (number, sequence.told[-LOOK_EVERY:])
    finally:
        sequence.stop()
    reloads = sum("haproxy reload:" in told for told in sequence.told)
    commands = sum("applied at run time" in told for told in sequence.told)
    print(f"{CHANGES} changes: {commands} by commands, {reloads} by reload")
    assert commands > CHANGES / 2
    assert reloads > CHANGES / 50
    assert "Traceback" not in place.log.read_text()


def test_hitless_state_as_haproxy_says_it_would_win_over_the_file(fresh_place: Place) -> None:
    """A weight set by hand comes back in a cold start, if the state is stored as haproxy gives it.

    So it is the agent's work on that file that lets the configuration win above.
    """
    place = fresh_place
    sequence = Sequence(place, random.Random(SEED))
    try:
        sequence.push()
        key = ("pool:plain", "a")
        master = place.base / LB / "master.sock"
        pid = hitless.worker_pid(place.base, LB)
        haproxy = HaproxyProgram(Path(HAPROXY))
        assert haproxy.command(master, pid, "set server pool:plain/a weight 3").strip() == ""
        said = haproxy.command(master, pid, "show servers state").strip()
        for state, weight in ((None, 1), (said, 3)):
            if state:
                (place.base / LB / "servers-state").write_text(f"{state}\n")
            with cold_start(place, place.directory) as stats:
                assert hitless.servers(stats)[key].weight == weight
    finally:
        sequence.stop()


def test_hitless_sequence_looks_at_what_differs(fresh_place: Place) -> None:
    """The comparison above is no yes-man: a weight set by hand is seen."""
    place = fresh_place
    sequence = Sequence(place, random.Random(SEED))
    try:
        sequence.push()
        master = place.base / LB / "master.sock"
        pid = hitless.worker_pid(place.base, LB)
        command = "set server pool:plain/a weight 3"
        assert HaproxyProgram(Path(HAPROXY)).command(master, pid, command).strip() == ""
        with cold_start(place, place.directory) as stats:
            cold = sequence.see(place.network, stats)
        assert sequence.see(place.inner, place.base / f"{LB}.sock") != cold
    finally:
        sequence.stop()
