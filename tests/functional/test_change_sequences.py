# SPDX-License-Identifier: Apache-2.0
"""Any sequence of changes by both APIs ends where a cold start of the stored files would.

AMPHORA_SEQUENCES says how many sequences; docs/apply.md tells of a long run.
"""

import os
import random
import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from amphora_agent import haproxycfg, haproxyservers
from amphora_agent.errors import AgentError
from amphora_agent.system import haproxy_socket
from amphora_agent.system.haproxy import HaproxyProgram
from tests.functional.change_sequences import (
    DOCUMENTED,
    HOSTS,
    UPLOADED,
    Agent,
    Documents,
    Uploads,
    await_none,
    haproxies,
)
from tests.functional.conftest import HAPROXY, Place
from tests.functional.killing import killable
from tests.support import hitless, waiting
from tests.support.netns import Namespace

pytestmark = pytest.mark.slow

SEED = 5
SEQUENCES = int(os.environ.get("AMPHORA_SEQUENCES", "60"))
CHANGES_MAX = 8
_KILL_CHANCE = 0.15
_DEADLINE_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a haproxy is.

    Attributes:
        certificates: by port, those shown without a name and for each name.
        limit: how many connections it takes.
    """

    servers: dict[haproxyservers.Key, haproxyservers.State]
    certificates: dict[int, list[bytes]]
    limit: str


def see(config: str, inside: Namespace, stats: Path) -> Seen:
    """Look at one that runs.

    Args:
        config: what it was given.
    """
    info = haproxy_socket.query(stats, "show info", timeout_s=_DEADLINE_S)
    ports = [
        int(line.words[1].rpartition(":")[2])
        for line in haproxycfg.directives(config)
        if line.name == "bind" and "ssl" in line.words
    ]
    return Seen(
        servers=hitless.servers(stats),
        certificates={
            port: [_certificate(inside, port, name) for name in (None, *HOSTS)] for port in ports
        },
        limit=next(line for line in info.splitlines() if line.startswith("Maxconn: ")),
    )


def _certificate(inside: Namespace, port: int, name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with inside.entered():
        plain = socket.create_connection((str(hitless.VIP), port), _DEADLINE_S)
    with plain, context.wrap_socket(plain, server_hostname=name) as connection:
        return connection.getpeercert(binary_form=True) or b""


@contextmanager
def cold_start(place: Place, lb_id: str) -> Iterator[Path]:
    """A haproxy of its own, of the stored files, in another namespace; its stats socket."""
    stats, config = place.directory / "cold.sock", place.directory / "cold.cfg"
    stored = (place.base / lb_id / "haproxy.cfg").read_text()
    config.write_text(stored.replace(f"{place.base}/{lb_id}.sock", str(stats)))
    group = place.base / "haproxy-default-user-group.conf"
    with (place.directory / "cold.log").open("wb") as log:
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


def compared(place: Place, lb_id: str) -> tuple[Seen, Seen] | None:
    """What a haproxy is, and what a cold start would make of its files; None if none is to run."""
    config = place.base / lb_id / "haproxy.cfg"
    if not config.exists() or (place.base / lb_id / "stopped").exists():
        await_none(place, lb_id)
        return None
    assert haproxies(place, lb_id), f"{lb_id} does not run"
    text = config.read_text()
    running = see(text, place.inner, place.base / f"{lb_id}.sock")
    with cold_start(place, lb_id) as stats:
        return running, see(text, place.network, stats)


@pytest.fixture
def pems(fresh_place: Place) -> list[bytes]:
    """One certificate for each name."""
    return [fresh_place.pki.amphora_pem(uuid.UUID(host)) for host in HOSTS]


@pytest.fixture
def agent(fresh_place: Place) -> Iterator[Agent]:
    """One that is not killed, unless a test wants it."""
    with killable(fresh_place) as helper:
        yield Agent(place=fresh_place, helper=helper, dice=random.Random(SEED), kill_chance=0)


def test_sequences_end_where_a_cold_start_does(agent: Agent, pems: list[bytes]) -> None:
    """Whatever few changes are made, with kills among them, haproxy is as its files say.

    Most of them need no reload, so it is not the reloads that make it so.
    """
    agent.kill_chance = _KILL_CHANCE
    looks = 0
    for number in range(SEQUENCES):
        agent.dice.seed(f"{SEED}/{number}")
        agent.told.append(f"sequence {number}")
        uploads, documents = Uploads(agent, pems), Documents(agent, pems)
        uploads.begin()
        documents.begin()
        uploads.push()
        documents.put()
        for _ in range(agent.dice.randint(1, CHANGES_MAX)):
            agent.dice.choice((uploads, documents)).change()
        for lb_id in (UPLOADED, DOCUMENTED):
            told = agent.told[len(agent.told) - agent.told[::-1].index(f"sequence {number}") - 1 :]
            try:
                found = compared(agent.place, lb_id)
            except BaseException as exc:
                exc.add_note("\n".join(told))
                raise
            if found is not None:
                assert found[0] == found[1], (lb_id, told)
                looks += 1
    Uploads(agent, pems).begin()
    Documents(agent, pems).begin()
    print(f"{SEQUENCES} sequences, {looks} comparisons: {dict(agent.seen)}")
    assert looks > SEQUENCES
    assert agent.seen["commands"] > SEQUENCES
    assert agent.seen["reload"] > SEQUENCES / 5
    assert agent.seen["POST 2.0 200"] > SEQUENCES / 10
    assert agent.seen["kill of the agent"] > SEQUENCES / 10
    assert agent.seen["kill of haproxy"] > 0
    assert "Traceback" not in agent.place.log.read_text()


@pytest.mark.parametrize("lb_id", [UPLOADED, DOCUMENTED])
def test_sequences_look_at_what_differs(agent: Agent, pems: list[bytes], lb_id: str) -> None:
    """The comparison above is no yes-man: a weight set by hand is seen."""
    place = agent.place
    Uploads(agent, pems).push()
    documents = Documents(agent, pems)
    documents.put()
    before = compared(place, lb_id)
    assert before is not None
    assert before[0] == before[1]
    [(backend, server), *_] = before[0].servers
    pid = hitless.worker_pid(place.base, lb_id)
    command = f"set server {backend}/{server} weight 77"
    master = place.base / lb_id / "master.sock"
    assert HaproxyProgram(Path(HAPROXY)).command(master, pid, command).strip() == ""
    after = compared(place, lb_id)
    assert after is not None
    assert after[0] != after[1]
    documents.begin()
    Uploads(agent, pems).begin()


def test_state_as_haproxy_says_it_would_win_over_the_file(agent: Agent, pems: list[bytes]) -> None:
    """A weight set by hand comes back in a cold start, if the state is stored as haproxy gives it.

    So it is the agent's work on that file that lets the configuration win above.
    """
    place = agent.place
    uploads = Uploads(agent, pems)
    uploads.push()
    key = ("pool:plain", "a")
    master = place.base / UPLOADED / "master.sock"
    pid = hitless.worker_pid(place.base, UPLOADED)
    haproxy = HaproxyProgram(Path(HAPROXY))
    assert haproxy.command(master, pid, "set server pool:plain/a weight 3").strip() == ""
    said = haproxy.command(master, pid, "show servers state").strip()
    for state, weight in ((None, 1), (said, 3)):
        if state:
            (place.base / UPLOADED / "servers-state").write_text(f"{state}\n")
        with cold_start(place, UPLOADED) as stats:
            assert hitless.servers(stats)[key].weight == weight
    uploads.begin()
