# SPDX-License-Identifier: Apache-2.0
"""Changes that the real haproxy takes while it serves: same worker, no request lost."""

import re
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from amphora_agent.system.haproxy import HaproxyProgram
from tests.functional.conftest import HAPROXY, LOOPBACK, Place
from tests.support import hitless, http_member
from tests.support.hitless import Member, Model
from tests.support.mutual_tls import Client
from tests.support.netns import Namespace

LB = str(uuid.UUID("55555555-0000-4000-8000-000000000001"))
PORTS = {"one": 8081, "two": 8082, "three": 8083}
ONE, TWO, THREE = (Member(port=port) for port in PORTS.values())
# Requests under way when a change comes, and after it.
_AROUND_S = 0.3
_APPLIED = re.compile(r"haproxy reload not needed: (\d+) changes? applied at run time")


@dataclass(frozen=True, kw_only=True)
class World:
    """An agent with one load balancer, and the members behind it."""

    agent: Place
    controller: Client

    def push(self, model: Model) -> str:
        """Upload and reload as a controller does; the details of the answer."""
        path = f"/1.0/loadbalancer/{self.agent.amphora_id}/{LB}/haproxy"
        config = model.config(self.agent.base, LB).encode()
        answer = self.controller.request("PUT", path, config)
        assert answer.status == 202, answer.body
        answer = self.controller.request("PUT", f"/1.0/loadbalancer/{LB}/reload")
        assert answer.status == 202, answer.body
        return str(answer.json()["details"])

    def put_certificate(self, name: str, content: bytes) -> str:
        """Upload a file; its path."""
        path = f"/1.0/loadbalancer/{LB}/certificates/{name}"
        assert self.controller.request("PUT", path, content).status == 200
        return str(self.agent.base / "certs" / LB / name)

    def put_list(self, model: Model) -> None:
        """Upload the certificate list."""
        self.put_certificate(f"{LB}.pem", model.certificate_list().encode())

    def pid(self) -> int:
        """The worker."""
        return hitless.worker_pid(self.agent.base, LB)

    def served_certificate(self) -> bytes:
        """What the next handshake shows, in DER."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with self.agent.inner.entered():
            plain = socket.create_connection((str(hitless.VIP), hitless.TLS_PORT), 10)
        with plain, context.wrap_socket(plain) as connection:
            return connection.getpeercert(binary_form=True) or b""

    def names(self, inside: Namespace, requests: int = 24) -> set[str]:
        """Members that answer."""
        return {
            http_member.fetch(inside, hitless.VIP, hitless.PLAIN_PORT).text for _ in range(requests)
        }


@pytest.fixture(scope="module")
def world(agent: Place, controller: Client) -> Iterator[World]:
    """Members run, haproxy not yet."""
    with ExitStack() as members:
        for name, port in PORTS.items():
            members.enter_context(http_member.http_member(agent.inner, name, LOOPBACK, port))
        made = World(agent=agent, controller=controller)
        made.push(Model(members={"one": ONE}))
        yield made
        assert controller.request("DELETE", f"/1.0/listeners/{LB}").status == 200


BOTH = Model(members={"one": ONE, "two": TWO})


# Before and after, how many changes that is, and who answers then.
CHANGES = {
    "weight": (BOTH, {"one": replace(ONE, weight=2), "two": TWO}, 1, {"one", "two"}),
    "drain": (BOTH, {"one": ONE, "two": replace(TWO, weight=0)}, 1, {"one"}),
    "disable": (BOTH, {"one": replace(ONE, enabled=False), "two": TWO}, 1, {"two"}),
    "enable": (
        replace(BOTH, members={"one": replace(ONE, enabled=False), "two": TWO}),
        BOTH.members,
        1,
        {"one", "two"},
    ),
    "address": (BOTH, {"one": ONE, "two": THREE}, 1, {"one", "three"}),
    "add": (BOTH, {"one": ONE, "two": TWO, "three": THREE}, 1, {"one", "two", "three"}),
    "delete": (BOTH, {"two": TWO}, 1, {"two"}),
    "all-replaced": (BOTH, {"three": THREE}, 3, {"three"}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "check",
    [
        pytest.param(False, id="unchecked"),
        pytest.param(True, id="checked", marks=pytest.mark.slow),
    ],
)
def test_hitless_change_of_members(world: World, change: str, check: bool) -> None:
    """A change of members leaves the worker, loses no request, and is what requests see next."""
    before, members, changes, answering = CHANGES[change]
    before = replace(before, check=check)
    world.push(before)
    pid = world.pid()
    with hitless.load(world.agent.inner) as load:
        time.sleep(_AROUND_S)
        details = world.push(replace(before, members=members))
        assert world.names(world.agent.inner) == answering
        time.sleep(_AROUND_S)
    assert load.failures == []
    assert sum(load.answers.values()) > 10
    assert details.startswith(f"Listener {LB} reloaded\n")
    applied = _APPLIED.search(details)
    assert applied, details
    assert int(applied[1]) == changes
    assert world.pid() == pid


def test_hitless_forced_reload_loses_no_request(world: World) -> None:
    """A change that needs a reload has one, told with its reason, and no request is lost."""
    world.push(BOTH)
    pid = world.pid()
    with hitless.load(world.agent.inner) as load:
        time.sleep(_AROUND_S)
        details = world.push(replace(BOTH, limit=600))
        time.sleep(_AROUND_S)
    assert load.failures == []
    assert details == f"Listener {LB} reloaded\nhaproxy reload: global: `maxconn` changes"
    assert world.pid() != pid


def test_hitless_repeated_reload_does_nothing(world: World) -> None:
    """The same configuration again reloads nothing and says so."""
    world.push(BOTH)
    pid = world.pid()
    assert world.push(BOTH).endswith("haproxy reload not needed: it runs what is stored")
    assert world.pid() == pid


@pytest.mark.parametrize("renamed", [False, True], ids=["same-name", "new-name"])
def test_hitless_certificate_renewal(world: World, renamed: bool) -> None:
    """A renewed certificate is in the next handshake, from the same worker, no request lost.

    Octavia names the file after its content, so there it comes under a new name in the list.
    """
    old, new = (world.agent.pki.amphora_pem(uuid.uuid4()) for _ in range(2))
    path = world.put_certificate(f"{'a' * 40}.pem", old)
    model = replace(BOTH, certificates=(path,))
    world.put_list(model)
    world.push(model)
    pid = world.pid()
    served = world.served_certificate()
    assert served in _ders(old)
    with hitless.load(world.agent.inner) as load:
        time.sleep(_AROUND_S)
        path = world.put_certificate(f"{('b' if renamed else 'a') * 40}.pem", new)
        model = replace(BOTH, certificates=(path,))
        world.put_list(model)
        details = world.push(model)
        assert world.served_certificate() in _ders(new)
        time.sleep(_AROUND_S)
    assert load.failures == []
    assert world.pid() == pid
    assert _APPLIED.search(details), details
    # And once more, from the name that the worker still uses.
    world.put_certificate(f"{'c' * 40}.pem", old)
    model = replace(BOTH, certificates=(path.replace("b" * 40, "c" * 40),))
    world.put_list(model)
    world.put_certificate(f"{'a' * 40}.pem", old)
    world.push(model)
    assert world.served_certificate() in _ders(old)
    assert world.pid() == pid


def test_hitless_worthless_certificate_is_refused_by_the_reload(world: World) -> None:
    """What haproxy does not take as a command ends in a reload, which says why it fails."""
    pem = world.agent.pki.amphora_pem(uuid.uuid4())
    name = f"{'d' * 40}.pem"
    model = replace(BOTH, certificates=(world.put_certificate(name, pem),))
    world.put_list(model)
    world.push(model)
    pid = world.pid()
    world.put_certificate(name, b"worthless\n")
    answer = world.controller.request("PUT", f"/1.0/loadbalancer/{LB}/reload")
    assert answer.status == 500
    assert name in answer.json()["details"]
    assert world.served_certificate() in _ders(pem)
    assert world.pid() == pid
    world.put_certificate(name, pem)
    world.push(model)
    assert world.served_certificate() in _ders(pem)


def test_hitless_wrong_weight_is_refused_at_the_upload(world: World) -> None:
    """A change of a weight alone is not taken for good unseen: haproxy's limit holds."""
    world.push(BOTH)
    path = f"/1.0/loadbalancer/{world.agent.amphora_id}/{LB}/haproxy"
    for weight, status in ((257, 400), (256, 202), (1, 202)):
        model = replace(BOTH, members={"one": replace(ONE, weight=weight), "two": TWO})
        config = model.config(world.agent.base, LB).encode()
        assert world.controller.request("PUT", path, config).status == status


def test_hitless_member_with_a_long_request_goes_by_reload(world: World) -> None:
    """A member that is deleted in the middle of a request finishes it, in the old worker."""
    world.push(BOTH)
    pid = world.pid()
    with world.agent.inner.entered():
        client = socket.create_connection((str(hitless.VIP), hitless.PLAIN_PORT), 10)
        member = socket.create_server(("127.0.0.1", 8089))
    with client, member:
        world.push(replace(BOTH, members={"slow": Member(port=8089)}))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        connection, _address = member.accept()
        with connection:
            details = world.push(BOTH)
            assert "haproxy reload: haproxy refuses `del server pool:plain/slow`" in details
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\ndone")
        assert client.makefile("rb").read().endswith(b"done")
    assert world.pid() != pid


def test_hitless_worker_that_somebody_changed_is_reloaded(world: World) -> None:
    """A weight that was set by hand on the master's socket does not survive the next reload."""
    world.push(BOTH)
    pid = world.pid()
    _by_hand(world, "set server pool:plain/one weight 9")
    details = world.push(BOTH)
    assert "server pool:plain/one has weight 9" in details
    assert world.pid() != pid
    states = hitless.servers(world.agent.base / f"{LB}.sock")
    assert {state.weight for state in states.values()} == {1}


def test_hitless_state_file_does_not_bring_old_values_back(world: World) -> None:
    """Weight, admin state and port after a reload are the file's, whatever the worker had before.

    haproxy itself would restore them: the weight where the first one it was loaded with comes
    back, the port always.
    """
    checked = replace(BOTH, check=True)
    world.push(replace(checked, limit=501))
    changed = {"one": replace(ONE, weight=5, enabled=False), "two": THREE}
    world.push(replace(checked, limit=501, members=changed))
    # The first values again, by a reload.
    assert "haproxy reload:" in world.push(replace(checked, limit=502))
    found = hitless.servers(world.agent.base / f"{LB}.sock")
    one, two = found["pool:plain", "one"], found["pool:plain", "two"]
    assert (one.weight, one.in_maintenance, one.port) == (1, False, 8081)
    assert (two.weight, two.in_maintenance, two.port) == (1, False, 8082)
    assert world.names(world.agent.inner) == {"one", "two"}


def _by_hand(world: World, command: str) -> None:
    master = world.agent.base / LB / "master.sock"
    assert HaproxyProgram(Path(HAPROXY)).command(master, world.pid(), command).strip() == ""


def _ders(pem: bytes) -> list[bytes]:
    blocks = re.findall(
        "-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem.decode(), re.S
    )
    return [ssl.PEM_cert_to_DER_cert(block) for block in blocks]
