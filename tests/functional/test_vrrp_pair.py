# SPDX-License-Identifier: Apache-2.0
"""Two amphorae and one VIP: real keepalived and haproxy behind real agents, on one wire.

keepalived runs what Octavia's own renderer makes, with one check of haproxy a second instead of one
in five. Who is active, each agent is asked as a controller asks.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

import pytest

from tests.functional.conftest import REPOSITORY, Place, make_place
from tests.functional.haproxy_configs import listener_config
from tests.support import need, netns, octavia_driver, pki, waiting

pytestmark = pytest.mark.slow

LB = str(uuid.UUID(int=1, version=4))
PROGRAMS = REPOSITORY / "elements/amphora-agent/static/usr/local/bin"
# Three lost advertisements, two failed checks, and a busy machine.
_DEADLINE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Subnet:
    """Where the VIP is, and the two amphorae's own addresses."""

    vip: IPv4Address | IPv6Address
    gateway: IPv4Address | IPv6Address
    addresses: tuple[IPv4Interface | IPv6Interface, IPv4Interface | IPv6Interface]


IPV4 = Subnet(
    vip=IPv4Address("198.51.100.9"),
    gateway=IPv4Address("198.51.100.1"),
    addresses=(IPv4Interface("198.51.100.4/24"), IPv4Interface("198.51.100.5/24")),
)
IPV6 = Subnet(
    vip=IPv6Address("2001:db8::9"),
    gateway=IPv6Address("2001:db8::1"),
    addresses=(IPv6Interface("2001:db8::4/64"), IPv6Interface("2001:db8::5/64")),
)


@dataclass(frozen=True, kw_only=True)
class Amphora:
    """One of the pair."""

    place: Place
    vip: IPv4Address | IPv6Address
    vrrp_config: bytes

    def ask(self, method: str, path: str, body: bytes | None = None) -> int:
        """The status of a request to the agent."""
        client = self.place.client(self.place.pki.controller)
        return client.request(method, f"/1.0/{path}", body or b"").status

    def do(self, method: str, path: str, body: bytes | None = None) -> None:
        """A request that succeeds."""
        assert self.ask(method, path, body) in {200, 202}

    def is_active(self) -> bool:
        """Whether the VIP is on an interface, as the controller finds out."""
        client = self.place.client(self.place.pki.controller)
        answer = client.request("GET", f"/1.0/interface/{self.vip}")
        assert answer.status in {200, 404}
        if answer.status == 200:
            assert answer.json()["interface"] == "eth1"
        return answer.status == 200

    def start_vrrp(self) -> None:
        """What a controller does for each amphora of a pair."""
        self.do("PUT", "vrrp/upload", self.vrrp_config)
        self.do("PUT", "vrrp/start")

    def start_haproxy(self) -> None:
        """The push of a listener."""
        config = listener_config(self.place.base, LB, vip=str(self.vip), ports={})
        self.do("PUT", f"loadbalancer/{self.place.amphora_id}/{LB}/haproxy", config)
        self.do("PUT", f"loadbalancer/{LB}/reload")

    def kill(self, program: str) -> None:
        """Kill every process of a program at once."""
        pids = [pid for pid in self.place.inner.pids() if _name(pid) == program]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def await_log(self, text: str, *, after: int = 0) -> None:
        """Wait for a word of keepalived, in its log from some byte on."""
        try:
            waiting.until(
                f"keepalived to say {text!r}",
                lambda: text in self.log()[after:] or None,
                deadline_s=_DEADLINE_S,
                every_s=0.1,
            )
        except waiting.DeadlinePassedError as exc:
            exc.add_note(self.log())
            raise

    def log(self) -> str:
        """What keepalived has said since it was started."""
        return (self.place.base / "vrrp/octavia-keepalived.log").read_text(errors="replace")

    def reaches_vip(self) -> bool:
        """Whether somebody accepts connections on the VIP, seen from this end of the wire."""
        with self.place.inner.entered():
            client = socket.socket(socket.AF_INET if self.vip.version == 4 else socket.AF_INET6)
        client.settimeout(1.0)
        with client, contextlib.suppress(OSError):
            client.connect((str(self.vip), 80))
            return True
        return False


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both, with the one that Octavia would have be MASTER first."""

    one: Amphora
    two: Amphora

    def await_active(self, active: Amphora) -> Amphora:
        """Wait until one of them alone holds the VIP and serves it; returns the other one."""
        other = self.two if active is self.one else self.one
        waiting.until(
            "the VIP to be on one amphora alone",
            lambda: (active.is_active() and not other.is_active()) or None,
            deadline_s=_DEADLINE_S,
            every_s=0.1,
        )
        waiting.until(
            "the VIP to be served",
            lambda: other.reaches_vip() or None,
            deadline_s=_DEADLINE_S,
            every_s=0.1,
        )
        return other

    def stays(self, active: Amphora, standby: Amphora) -> None:
        """See that nothing changes."""
        _never(lambda: standby.is_active() or not active.is_active())


@pytest.fixture(scope="module")
def agents(authorities: pki.Pki) -> Iterator[tuple[Place, Place]]:
    """Two agents that answer, with a wire between the namespaces of their amphorae."""
    need.programs("keepalived", "nc")
    octavia_driver.interpreter()
    with (
        # keepalived hands its own environment to its scripts.
        pytest.MonkeyPatch.context() as environment,
        make_place(authorities) as one,
        make_place(authorities) as two,
    ):
        environment.setenv("PATH", f"{PROGRAMS}:{os.environ['PATH']}")
        one.inner.ip(
            *("link", "add", "eth1", "type", "veth"),
            *("peer", "name", "eth1", "netns", two.inner.name),
        )
        for number, place in enumerate((one, two)):
            # The standby's haproxy listens on a VIP that is not there, as the image lets it.
            for version in ("ipv4", "ipv6"):
                setting = f"/proc/sys/net/{version}/ip_nonlocal_bind"
                netns.run(*place.inner.command("sh", "-c", f"echo 1 > {setting}"))
            for subnet in (IPV4, IPV6):
                place.inner.add_address("eth1", subnet.addresses[number])
            place.inner.ip("link", "set", "eth1", "up")
            with place.config_file.open("a") as config:
                config.write("[controller_worker]\nloadbalancer_topology = ACTIVE_STANDBY\n")
        with _running(one), _running(two):
            yield one, two


@pytest.fixture
def pair(agents: tuple[Place, Place], request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Neither keepalived nor haproxy runs, and nothing is configured but VRRP."""
    subnet: Subnet = getattr(request, "param", IPV4)
    configs = _rendered([place.base for place in agents], subnet)
    one, two = (
        Amphora(place=place, vip=subnet.vip, vrrp_config=config)
        for place, config in zip(agents, configs, strict=True)
    )
    yield Pair(one=one, two=two)
    for amphora in (one, two):
        amphora.do("PUT", "vrrp/stop")
        amphora.do("DELETE", f"listeners/{LB}")


@pytest.fixture
def serving(pair: Pair) -> Pair:
    """The pair with a listener, and the first amphora active."""
    for amphora in (pair.one, pair.two):
        amphora.start_haproxy()
        amphora.start_vrrp()
        pair.await_active(pair.one)
    return pair


@contextmanager
def _running(place: Place) -> Iterator[None]:
    process = place.start()
    try:
        place.await_answer()
        yield
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)
    assert "Traceback" not in place.log.read_text()


def _rendered(bases: list[Path], subnet: Subnet) -> list[bytes]:
    """The VRRP configurations of a pair, made by Octavia."""
    description = {
        "vip": str(subnet.vip),
        "subnet": str(subnet.addresses[0].network),
        "gateway": str(subnet.gateway),
        "check_interval_s": 1,
        "amphorae": [
            {"address": str(address.ip), "base": str(base)}
            for address, base in zip(subnet.addresses, bases, strict=True)
        ],
    }
    done = subprocess.run(
        [octavia_driver.interpreter(), "-W", "ignore", "-m", "tests.support.octavia_vrrp"],
        cwd=REPOSITORY,
        input=json.dumps(description),
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=True,
    )
    return [text.encode() for text in json.loads(done.stdout)]


def _never(happens: Callable[[], bool]) -> None:
    """Watch for longer than keepalived waits for advertisements and checks."""
    with pytest.raises(waiting.DeadlinePassedError):
        waiting.until("it", lambda: happens() or None, deadline_s=6, every_s=0.2)


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_pair_without_a_listener_holds_no_vip(pair: Pair) -> None:
    """Neither amphora has the VIP until it has a listener, and the second one leaves it there."""
    both = (pair.one, pair.two)
    for amphora in both:
        amphora.start_vrrp()
        amphora.await_log("VRRP_Script(check_script) failed")
    _never(lambda: any(amphora.is_active() for amphora in both))
    pair.two.start_haproxy()
    pair.await_active(pair.two)
    # The one with the higher priority comes later, and does not take it.
    said = len(pair.one.log())
    pair.one.start_haproxy()
    pair.one.await_log("BACKUP STATE", after=said)
    pair.stays(pair.two, pair.one)


@pytest.mark.parametrize("pair", [IPV4, IPV6], indirect=True, ids=["ipv4", "ipv6"])
def test_pair_survives_the_death_of_keepalived(serving: Pair) -> None:
    """The standby takes the VIP of a dead keepalived, and keeps it when that one is back."""
    serving.one.kill("keepalived")
    waiting.until(
        "the standby to take over",
        lambda: serving.two.is_active() or None,
        deadline_s=_DEADLINE_S,
        every_s=0.1,
    )
    serving.one.do("PUT", "vrrp/start")
    serving.one.await_log("BACKUP STATE")
    serving.await_active(serving.two)
    serving.stays(serving.two, serving.one)


def test_pair_survives_the_death_of_haproxy(serving: Pair) -> None:
    """The VIP leaves an amphora whose haproxy died, does not go back, and can come again."""
    serving.one.kill("haproxy")
    serving.await_active(serving.two)
    said = len(serving.one.log())
    serving.one.do("PUT", f"loadbalancer/{LB}/start")
    serving.one.await_log("BACKUP STATE", after=said)
    serving.stays(serving.two, serving.one)
    serving.two.kill("haproxy")
    serving.await_active(serving.one)


def test_pair_does_not_move_the_vip_at_a_stop(serving: Pair) -> None:
    """A haproxy that a controller stops on both amphorae is no failure of either."""
    for amphora in (serving.one, serving.two):
        amphora.do("PUT", f"loadbalancer/{LB}/stop")
    serving.stays(serving.one, serving.two)


def test_pair_does_not_move_the_vip_at_a_reload(serving: Pair) -> None:
    """Reloads of haproxy and VRRP, and all uploads again, leave the VIP where it is."""
    for amphora in (serving.one, serving.two):
        amphora.start_haproxy()
        amphora.start_vrrp()
        amphora.do("PUT", "vrrp/reload")
    serving.stays(serving.one, serving.two)
