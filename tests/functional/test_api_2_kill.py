# SPDX-License-Identifier: Apache-2.0
"""The agent is killed at every step of a change by API 2.0; after its next start the old state, or
the new one, is there as a whole, and serves.

The load balancer has everything that a transaction covers: see whole_amphora. AMPHORA_KILL_STRIDE=1
kills at every step.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from amphora_agent import settings
from tests.functional import whole_amphora
from tests.functional.conftest import LOOPBACK, Place
from tests.functional.kill_requests import Request
from tests.functional.killing import Killable, Since, killable
from tests.functional.whole_amphora import UNITS
from tests.support import documents, need, waiting
from tests.support.documents import LB_ID
from tests.support.http_member import http_member
from tests.support.services import ProcessServices

pytestmark = [pytest.mark.slow, pytest.mark.netns]

PATH = f"/2.0/loadbalancers/{LB_ID}"
DELETE = Request(method="DELETE", path=PATH)
# The most steps that a change may have; it has to end before.
STEPS_MAX = 1500
# Killing at every step takes minutes; neighbouring steps are much alike.
STRIDE = int(os.environ.get("AMPHORA_KILL_STRIDE", "20"))
_DEADLINE_S = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Amphora:
    """One of a pair with an SR-IOV NIC, and two documents for it that differ in every file.

    Attributes:
        puts: requests that bring them.
        rules: what nftables has in force for them, and without a load balancer.
    """

    place: Place
    agent: Killable
    services: ProcessServices
    puts: tuple[Request, Request]
    rules: tuple[str, str, str]

    def state(self) -> int:
        """Which of the two documents is there as a whole, and serves.

        Raises:
            AssertionError: a part is that of the other one, or not there.
        """
        text, _certificate = whole_amphora.served(self.place.inner)
        number = ("one", "two").index(text)
        assert_whole(self.place.base)
        assert whole_amphora.rules(self.place.inner) == self.rules[number]
        assert all(map(self.services.is_active, UNITS)), UNITS
        return number

    def assert_nothing(self) -> None:
        """Nothing of a load balancer is there, and its ports are closed."""
        left = [path for path in self.place.base.rglob("*") if LB_ID in str(path)]
        left += (self.place.base / "lvs").glob("*.conf")
        assert left == []
        gone = lambda: None if self.place.inner.pids() else True  # noqa: E731
        waiting.until("all programs to end", gone, deadline_s=_DEADLINE_S, every_s=0.01)
        assert whole_amphora.rules(self.place.inner) == self.rules[2]


@pytest.fixture
def amphora(fresh_place: Place) -> Iterator[Amphora]:
    """Plugged, and without a load balancer."""
    need.programs("keepalived", "nft")
    place = fresh_place
    whole_amphora.prepare(place)
    pems = [place.pki.amphora_pem(place.amphora_id).decode() for _ in range(2)]
    old, new = (
        Request(
            method="PUT",
            path=PATH,
            body=documents.encoded(whole_amphora.document(place, number, pem)),
        )
        for number, pem in enumerate(pems)
    )
    plug = Request(
        method="POST",
        path=whole_amphora.PLUG_PATH,
        body=json.dumps(whole_amphora.PLUG).encode(),
    )
    loaded = settings.load(place.config_file)
    with (
        http_member(place.inner, "one", LOOPBACK, 8081),
        http_member(place.inner, "two", LOOPBACK, 8082),
        killable(place) as agent,
    ):
        assert agent.run([plug]).statuses == [202]
        rules = []
        for request, status in ((old, 201), (new, 200), (DELETE, 204)):
            assert agent.run([request]).statuses == [status]
            rules.append(whole_amphora.rules(place.inner))
        assert len(set(rules)) == len(rules)
        yield Amphora(
            place=place,
            agent=agent,
            services=ProcessServices(loaded.layout, place.inner.name, loaded.haproxy_cmd),
            puts=(old, new),
            rules=(rules[0], rules[1], rules[2]),
        )
        assert agent.run([DELETE]).statuses == [204]
    assert "Traceback" not in place.log.read_text()


def last_revision(base: Path) -> tuple[int, dict[str, str | None]]:
    """Number and checksums of the newest revision; 0 when there is none."""
    found = sorted((base / "revisions" / LB_ID).glob("*.json"), key=lambda path: int(path.stem))
    if not found:
        return 0, {}
    return int(found[-1].stem), json.loads(found[-1].read_bytes())["files"]


def assert_whole(base: Path) -> None:
    """Every file is as the newest revision says, and nothing else is there."""
    number, wanted = last_revision(base)
    for name, sha256 in wanted.items():
        path = Path(name)
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
        assert found == sha256, f"{path} is not that of revision {number}"
    stored = {str(path) for path in (base / "certs" / LB_ID).glob("*.pem")}
    assert stored == {name for name in wanted if "/certs/" in name}
    for directory in (base / "transactions", base / "certs" / "transactions"):
        assert not directory.exists() or list(directory.iterdir()) == []
    assert not [path for path in base.rglob(".*") if path.is_file()]


def sweep(kill: Callable[[int, Since], bool]) -> None:
    """Kill at steps of a change to its end, and at more of those after it is noted as done.

    Args:
        kill: does so at a step, and looks at what came of it; whether there was such a step.
    """
    sinces: dict[Since, int] = {"request": STRIDE, "done": -(-STRIDE // 5)}
    for since, stride in sinces.items():
        for step in range(1, STEPS_MAX, stride):
            try:
                killed = kill(step, since)
            except BaseException as exc:
                exc.add_note(f"step {step} since {since}")
                raise
            if not killed:
                break
        else:
            pytest.fail("the change has more steps than this test kills")


def test_api_2_kill_at_any_step_leaves_old_or_new(amphora: Amphora) -> None:
    """Before a change is noted as done the next start undoes it; afterwards it stays."""
    base, agent = amphora.place.base, amphora.agent
    old, new = amphora.puts
    ends: Counter[tuple[str, int]] = Counter()

    def kill(step: int, since: Since) -> bool:
        assert agent.run([old]).statuses[0] in {200, 201}
        before, _files = last_revision(base)
        ran = agent.run([new], step, since=since)
        # The next start.
        agent.run([])
        end = amphora.state()
        assert last_revision(base)[0] == before + end
        assert ran.statuses in ([], [200][:end])
        if since == "done":
            assert end == (step > 1)
        ends[since, end] += 1
        return ran.killed

    sweep(kill)
    print(ends)
    assert ends["request", 0] > 150 / STRIDE
    assert ends["done", 1] > 1


@pytest.mark.parametrize("change", ["create", "delete"])
def test_api_2_kill_of_a_first_put_and_a_delete(amphora: Amphora, change: str) -> None:
    """A load balancer that was not made leaves nothing; one that was not deleted serves."""
    agent, put = amphora.agent, amphora.puts[0]
    request, back = (put, DELETE) if change == "create" else (DELETE, put)
    ends: Counter[tuple[str, bool]] = Counter()

    def kill(step: int, since: Since) -> bool:
        assert agent.run([back]).statuses[0] in {200, 201, 204}
        killed = agent.run([request], step, since=since).killed
        agent.run([])
        is_there = last_revision(amphora.place.base)[0] > 0
        if is_there:
            assert amphora.state() == 0
        else:
            amphora.assert_nothing()
        is_done = is_there == (change == "create")
        if since == "done":
            assert is_done == (step > 1)
        ends[since, is_done] += 1
        return killed

    sweep(kill)
    print(ends)
    assert ends["request", False] > 150 / STRIDE
    assert ends["done", True] > 1
