# SPDX-License-Identifier: Apache-2.0
"""Heartbeats mirrored beside the health manager, in namespaces of the tests' own."""

import random
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from tests.support import need, watched
from tests.support.heartbeats import listener
from tests.support.netns import Namespace, namespace
from tests.support.watched import KEY, datagram
from tests.support.watching import AMPHORACTL, DEADLINE_S, REPOSITORY, watching

MANAGER = IPv4Address("192.0.2.11")


@pytest.fixture
def network() -> Iterator[tuple[Namespace, Namespace]]:
    """Amphorae and a controller, on a link of the usual MTU."""
    need.root()
    with namespace("amphorae") as amphorae, namespace("manager") as controller:
        amphorae.ip(
            *("link", "add", "eth0", "type", "veth"),
            *("peer", "name", "o-hm0", "netns", controller.name),
        )
        for place, link, last in ((amphorae, "eth0", 7), (controller, "o-hm0", 11)):
            place.add_address(link, IPv4Interface(f"192.0.2.{last}/24"))
            place.add_address(link, IPv6Interface(f"2001:db8::{last}/64"))
            place.ip("link", "set", link, "up")
            place.ip("link", "set", "lo", "up")
        yield amphorae, controller


def _send_from(inside: Namespace, payload: bytes, host: str, port: int) -> None:
    with inside.entered():
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sender = socket.socket(family, socket.SOCK_DGRAM)
    with sender:
        sender.sendto(payload, (host, port))


def _large(amphora_id: str) -> bytes:
    """A heartbeat of some 40 fragments."""
    noise = random.Random(1)
    message = watched.message("UP", amphora_id=amphora_id)
    [pool] = message["pools"].values()
    pool["members"] |= {f"m{noise.getrandbits(128):032x}": "UP" for _ in range(3000)}
    payload = watched.signed(message)
    assert 50_000 < len(payload) < 65_507
    return payload


def test_mirror_hears_what_the_health_manager_hears(
    tmp_path: Path, network: tuple[Namespace, Namespace]
) -> None:
    """Large heartbeats over IPv4 and IPv6 reach both; another port's do not reach the watch."""
    amphorae, controller = network
    with (
        listener(controller, MANAGER) as manager,
        watching(tmp_path, "--json", "--heartbeats", inside=controller) as watch,
    ):
        watch.await_raw_sockets(controller)
        large = _large("one")
        _send_from(amphorae, datagram("UP", amphora_id="elsewhere"), str(MANAGER), 5556)
        _send_from(amphorae, large, str(MANAGER), 5555)
        _send_from(amphorae, _large("two"), "2001:db8::11", 5555)
        one = watch.await_row(kind="heartbeat", amphora_id="one")
        two = watch.await_row(kind="heartbeat", amphora_id="two")
        assert (one["address"], two["address"]) == ("192.0.2.7", "2001:db8::7")
        assert len(one["members"]) == 3001
        assert [found.payload for found in manager.wait_for(1, deadline_s=10)] == [large]
        assert not any(row.get("amphora_id") == "elsewhere" for row in watch.rows())


def test_mirror_without_the_right_to_it_says_so(tmp_path: Path) -> None:
    """Without the capability CAP_NET_RAW the error names it."""
    need.root()
    need.programs("setpriv")
    (tmp_path / "key").write_text(KEY)
    done = subprocess.run(
        [
            *("setpriv", "--bounding-set", "-net_raw", *AMPHORACTL, "watch"),
            *("--key-file", str(tmp_path / "key")),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 3, done
    assert b"CAP_NET_RAW" in done.stderr
