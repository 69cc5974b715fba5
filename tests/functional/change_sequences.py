# SPDX-License-Identifier: Apache-2.0
"""Random changes of load balancers by both APIs, for an agent that is killed now and then.

One load balancer is a controller's: it uploads everything and reloads, and does so again when the
agent died meanwhile. The other one has documents, and a controller that puts its hand in as well.
"""

import contextlib
import json
import os
import random
import signal
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.functional.conftest import Place
from tests.functional.haproxy_configs import listener_config
from tests.functional.kill_requests import Request
from tests.functional.killing import Killable
from tests.support import documents, waiting
from tests.support.documents import LB_ID, Document
from tests.support.hitless import Member, Model

UPLOADED = str(uuid.UUID("55555555-0000-4000-8000-000000000002"))
DOCUMENTED = LB_ID
PORTS = (8443, 8444)
# Names that certificates are for.
HOSTS = tuple(str(uuid.UUID(int=number + 1)) for number in range(4))
_NAMES = ("a", "b", "c", "d", "e")
_PATH = f"/2.0/loadbalancers/{DOCUMENTED}"
# An upload with a reload has some 50 steps, a PUT with one some 250.
_STEPS = (50, 250)
_DEADLINE_S = 30.0

Answer = tuple[int, str]


@dataclass(kw_only=True, slots=True)
class Agent:
    """Asks, and counts what was answered.

    Attributes:
        kill_chance: of each change.
        told: requests and answers, in order.
        seen: kinds of requests with their statuses, ways in which changes came to haproxy, kills.
    """

    place: Place
    helper: Killable
    dice: random.Random
    kill_chance: float
    told: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def ask(self, *requests: Request) -> list[Answer]:
        """Have all of them answered."""
        ran = self.helper.run(requests)
        self._note(requests, ran.answers)
        assert len(ran.answers) == len(requests), self.told[-3:]
        return list(ran.answers)

    def change(self, *requests: Request) -> list[Answer] | None:
        """The same, or None where the agent was killed; then it has started again."""
        if self.dice.random() >= self.kill_chance:
            return self.ask(*requests)
        ran = self.helper.run(requests, self.dice.randint(1, self.dice.choice(_STEPS)))
        self._note(requests, ran.answers)
        if not ran.killed:
            return list(ran.answers)
        self.told.append("killed")
        self.seen["kill of the agent"] += 1
        self.helper.run([])
        return None

    def _note(self, requests: tuple[Request, ...], answers: tuple[Answer, ...]) -> None:
        for request, (status, body) in zip(requests, answers, strict=False):
            self.told.append(f"{request.method} {request.path}: {status}")
            self.seen[f"{request.method} {request.path.split('/')[1]} {status}"] += 1
            if request.method != "GET":
                self.seen["reload"] += "haproxy reload:" in body
                self.seen["commands"] += "applied at run time" in body
            assert status < 500, (self.told[-4:], body)

    def kill_haproxy(self, lb_id: str) -> None:
        """End all of one haproxy, and start it again as systemd would; none is none."""
        pids = haproxies(self.place, lb_id)
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await_none(self.place, lb_id)
        self.seen["kill of haproxy"] += 1
        path = f"/1.0/loadbalancer/{lb_id}/start"
        assert [status for status, _ in self.ask(Request(method="PUT", path=path))] == [202]


def haproxies(place: Place, lb_id: str) -> list[int]:
    """Processes of the haproxy of a load balancer."""
    found = []
    for pid in place.inner.pids():
        with contextlib.suppress(OSError):
            if f"/{lb_id}/haproxy.cfg".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def await_none(place: Place, lb_id: str) -> None:
    """No haproxy is there for a load balancer; one that was told to end may take a moment."""
    gone = lambda: None if haproxies(place, lb_id) else True  # noqa: E731
    waiting.until(f"haproxy of {lb_id} to end", gone, deadline_s=_DEADLINE_S, every_s=0.01)


class Uploads:
    """A load balancer of API 1.0."""

    def __init__(self, agent: Agent, pems: list[bytes]) -> None:
        self._agent = agent
        self._dice = agent.dice
        self._pems = list(pems)
        self.model = Model(members={"a": Member(port=8081)}, check=True)

    def begin(self) -> None:
        """Nothing is there."""
        self._agent.ask(Request(method="DELETE", path=f"/1.0/listeners/{UPLOADED}"))

    def change(self) -> None:
        """Make one change."""
        kinds = {
            self._weight: 6,
            self._enabled: 4,
            self._address: 3,
            self._add: 4,
            self._remove: 4,
            self._renew: 4,
            self._certificates: 2,
            self._limit: 1,
            self._balance: 1,
            self._nothing: 1,
            self._kill_haproxy: 1,
        }
        self._dice.choices(list(kinds), list(kinds.values()))[0]()
        self.push()

    def push(self) -> None:
        """Upload everything and reload; again, if the agent died meanwhile."""
        certificates = {
            **{f"{index:040d}": pem for index, pem in enumerate(self._pems)},
            UPLOADED: self.model.certificate_list().encode(),
        }
        requests = [
            *(
                _put(_path(UPLOADED, f"certificates/{name}.pem"), content)
                for name, content in certificates.items()
            ),
            _upload(self._agent.place, UPLOADED, self.model.config(self._base, UPLOADED).encode()),
            _put(_path(UPLOADED, "reload")),
        ]
        answers = self._agent.change(*requests) or self._agent.ask(*requests)
        assert {status for status, _ in answers} == {200, 202}, answers

    @property
    def _base(self) -> Path:
        return self._agent.place.base

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
        port = self._dice.randint(8081, 8085)
        address = self._dice.choice(("127.0.0.1", "127.0.0.2"))
        self._with(name, replace(self.model.members[name], port=port, address=address))

    def _add(self) -> None:
        name = self._dice.choice(_NAMES)
        enabled = self._dice.random() < 0.8
        self._with(name, Member(port=8081, weight=self._dice.randint(0, 9), enabled=enabled))

    def _remove(self) -> None:
        if len(self.model.members) > 1:
            members = dict(self.model.members)
            del members[self._some()]
            self.model = replace(self.model, members=members)

    def _renew(self) -> None:
        """Another certificate for a name, one that was made for it."""
        index = self._dice.randrange(len(self._pems))
        self._pems[index] = self._agent.place.pki.amphora_pem(uuid.UUID(HOSTS[index]))

    def _certificates(self) -> None:
        directory = self._base / "certs" / UPLOADED
        indexes = self._dice.sample(range(len(self._pems)), self._dice.randint(0, 2))
        paths = tuple(str(directory / f"{index:040d}.pem") for index in indexes)
        self.model = replace(self.model, certificates=paths)

    def _limit(self) -> None:
        self.model = replace(self.model, limit=self._dice.choice((500, 501)))

    def _balance(self) -> None:
        self.model = replace(self.model, balance=self._dice.choice(("leastconn", "source")))
        if self._dice.random() < 0.7:
            self.model = replace(self.model, balance="roundrobin")

    def _kill_haproxy(self) -> None:
        self._agent.kill_haproxy(UPLOADED)

    def _nothing(self) -> None:
        """The same again."""


class Documents:
    """A load balancer of API 2.0, in which API 1.0 has a hand too."""

    def __init__(self, agent: Agent, pems: list[bytes]) -> None:
        self._agent = agent
        self._dice = agent.dice
        self._pems = [pem.decode() for pem in pems]

    def begin(self) -> None:
        """Nothing is there."""
        self._agent.ask(
            Request(method="DELETE", path=_PATH),
            Request(method="DELETE", path=f"/1.0/listeners/{DOCUMENTED}"),
            Request(method="DELETE", path=_PATH),
        )

    def change(self) -> None:
        """Make one request, or a few that belong together."""
        kinds = {
            self.put: 8,
            self._put_dry: 1,
            self._roll_back: 4,
            self._delete: 1,
            self._upload: 4,
            self._certificate: 2,
            self._act: 3,
            self._delete_1_0: 1,
            self._kill_haproxy: 1,
        }
        self._dice.choices(list(kinds), list(kinds.values()))[0]()

    def put(self) -> None:
        """Serve another document."""
        self._whole({200, 201}, _put(_PATH, documents.encoded(self._document())))

    def _whole(self, statuses: set[int], *requests: Request) -> None:
        """Requests of API 2.0: one that was broken off is undone, or done, at the next start."""
        answers = self._agent.change(*requests)
        assert answers is None or {status for status, _ in answers} <= statuses, answers

    def _again(self, statuses: set[int], *requests: Request) -> None:
        """Requests of API 1.0: a controller repeats what was broken off."""
        answers = self._agent.change(*requests) or self._agent.ask(*requests)
        assert {status for status, _ in answers} <= statuses, answers

    def _document(self) -> Document:
        dice = self._dice
        ports = dice.sample((8081, 8082, 8083), 3)
        members = [
            documents.member(
                number,
                ports[number],
                weight=dice.choice((0, 1, 5)),
                enabled=dice.random() < 0.8,
            )
            for number in range(dice.randint(0, 3))
        ]
        document = documents.http(*members, port=PORTS[0])
        [pool] = document["pools"]
        pool["algorithm"] = dice.choice(("ROUND_ROBIN", "ROUND_ROBIN", "SOURCE_IP"))
        if dice.random() < 0.3:
            pool["health_monitor"] = {"type": "TCP"}
        if dice.random() < 0.2:
            # To members; nobody asks whether they speak it.
            pool["tls"] = {}
        if dice.random() < 0.2:
            first: Mapping[str, Any] = document["listeners"][0]
            second = {**first, "id": documents.object_id(9), "port": PORTS[1]}
            document["listeners"].append(second)
        if dice.random() < 0.7:
            return documents.with_tls(document, dice.choice(self._pems))
        return document

    def _put_dry(self) -> None:
        body = documents.encoded(self._document())
        self._whole({200}, _put(f"{_PATH}?dry_run=1", body))

    def _roll_back(self) -> None:
        [(status, body)] = self._agent.ask(Request(method="GET", path=f"{_PATH}/revisions"))
        if status != 200:
            return
        numbers = [one["revision"] for one in json.loads(body)["revisions"]]
        wanted = json.dumps({"revision": self._dice.choice(numbers)}).encode()
        # After a delete by 1.0 the contents of certificates are gone.
        request = Request(method="POST", path=f"{_PATH}/rollback", body=wanted)
        self._whole({200, 409}, request)

    def _delete(self) -> None:
        # What 1.0 has made is not deleted by 2.0.
        self._whole({204, 409}, Request(method="DELETE", path=_PATH))

    def _upload(self) -> None:
        names = self._dice.sample(("a", "b", "c"), self._dice.randint(1, 3))
        ports = {name: self._dice.choice((8081, 8082)) for name in names}
        place = self._agent.place
        config = listener_config(place.base, DOCUMENTED, vip="127.0.0.1", ports=ports)
        config = config.replace(b":80\n", b":%d\n" % PORTS[0])
        self._again({202}, _upload(place, DOCUMENTED, config), _put(_path(DOCUMENTED, "reload")))

    def _certificate(self) -> None:
        pem = self._dice.choice(self._pems).encode()
        # There may be no load balancer to reload.
        self._again(
            {200, 202, 404},
            _put(_path(DOCUMENTED, "certificates/front.pem"), pem),
            _put(_path(DOCUMENTED, "reload")),
        )

    def _act(self) -> None:
        action = self._dice.choice(("stop", "start", "reload"))
        self._again({202, 404}, _put(_path(DOCUMENTED, action)))

    def _kill_haproxy(self) -> None:
        self._agent.kill_haproxy(DOCUMENTED)

    def _delete_1_0(self) -> None:
        self._again({200}, Request(method="DELETE", path=f"/1.0/listeners/{DOCUMENTED}"))


def _put(path: str, body: bytes = b"") -> Request:
    return Request(method="PUT", path=path, body=body)


def _path(lb_id: str, rest: str) -> str:
    return f"/1.0/loadbalancer/{lb_id}/{rest}"


def _upload(place: Place, lb_id: str, config: bytes) -> Request:
    return _put(f"/1.0/loadbalancer/{place.amphora_id}/{lb_id}/haproxy", config)
