# SPDX-License-Identifier: Apache-2.0
"""Measure the seconds without service when the active amphora of a pair loses its power; as root.

Two containers of the image, set up by Octavia's driver with the timers that it sends. A client
asks the VIP over HTTP every 50 ms, each time on a new connection, which may take 50 ms to be there.
Measured is from the kill to the begin of the first request that is answered afterwards. Then the
dead one boots again, and it is the other one's turn.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from tests.support import container, heartbeats, lab, pki, ssh
from tests.support.balancer import Listener, LoadBalancer, Member, Pool
from tests.support.guest import Plan
from tests.support.http_member import fetch, http_member
from tests.support.netns import Namespace
from tests.support.octavia_driver import ControllerConfig, octavia
from tests.support.pair import Pair, pair
from tests.support.yard import Yard

_POLL_S = 0.05
_DEADLINE_S = 60.0


def main() -> int:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__)
    parser.add_argument(
        "--image", type=Path, default=Path("amphora-x64-haproxy.qcow2"), help="as build.sh made it"
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write every figure, in seconds, to this file")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("containers need root")
    if not arguments.image.exists():
        parser.error(f"there is no image {arguments.image}; ./build.sh makes one")
    load_before = os.getloadavg()[0]
    with running(arguments.image) as booted:
        taken = []
        for number in range(arguments.rounds):
            taken.append(one_round(booted))
            print(f"round {number + 1}: {taken[-1]:.2f} s", file=sys.stderr)
    print(f"load average: {load_before:.1f} before, {os.getloadavg()[0]:.1f} after")
    print(f"rounds: {len(taken)}\n")
    print("| what | median, s | least | most |\n| --- | --- | --- | --- |")
    middle, least, most = statistics.median(taken), min(taken), max(taken)
    print(f"| active amphora killed to service again | {middle:.2f} | {least:.2f} | {most:.2f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"without service": taken}, indent=1) + "\n")
    return 0


@contextmanager
def running(image: Path) -> Iterator[Pair]:
    """A pair with one HTTP listener and one member, which serves."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, lab.lab() as networks:
        directory = Path(name)
        for part in ("pki", "ssh", "octavia", "disk", "pair"):
            (directory / part).mkdir()
        authorities = pki.create(directory / "pki")
        config = ControllerConfig(
            directory=directory / "octavia",
            pki=authorities,
            heartbeat_key="of-a-benchmark",
            heartbeat_targets=((networks.controller, heartbeats.PORT),),
            # Hosts may forbid a container the descriptors that the usual 50,000 need.
            haproxy_amphora={"default_connection_limit": "2000"},
        )
        keys = ssh.create_key_pair(directory / "ssh")
        plan = Plan(networks=networks, pki=authorities, keys=keys)
        address = networks.add_member_address(41)
        pool = Pool(members=(Member(address=address, port=80),))
        balancer = LoadBalancer(
            vip=lab.VIP[9], amphora=plan.amphora, listeners=(Listener(port=80, pool=pool),)
        )
        with (
            octavia(config, networks.namespace) as controller,
            http_member(networks.namespace, "member", address),
        ):
            disk = container.raw_disk(image, directory / "disk")
            yard = Yard(disk=disk, controller=controller)
            with pair(yard, plan, balancer, directory / "pair") as booted:
                yield booted


def one_round(both: Pair) -> float:
    """Kill the active one and boot it again; seconds without service."""
    active, _standby = both.await_roles()
    inside, vip = active.plan.networks.namespace, active.balancer.vip
    first_served(inside, vip)
    # Anywhere between two advertisements of the active one, which comes once a second.
    time.sleep(random.random())  # noqa: S311  # no secret
    killed_s = time.monotonic()
    both.kill(active)
    served_s = first_served(inside, vip)
    both.boot(active)
    return served_s - killed_s


def first_served(inside: Namespace, vip: IPv4Address) -> float:
    """When the first request began that was answered, on the clock of time.monotonic()."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while True:
        asked_s = time.monotonic()
        if served(inside, vip):
            return asked_s
        if asked_s > deadline_s:
            raise SystemExit(f"nobody has served the VIP for {_DEADLINE_S:g} s")
        time.sleep(max(asked_s + _POLL_S - time.monotonic(), 0))


def served(inside: Namespace, vip: IPv4Address) -> bool:
    """Whether the member answers through the VIP at once."""
    try:
        return fetch(inside, vip, 80, connect_s=_POLL_S).text == "member"
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
