# SPDX-License-Identifier: Apache-2.0
"""Measure plugs and the restore of the namespace; as root, in namespaces of its own.

Printed are medians and ranges over the rounds; there is no upstream beside them, whose agent wants
systemd, ifupdown and a machine of its own for the same.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.functional.conftest import NIC_MAC, Place, make_place
from tests.support import pki
from tests.support.netns import run

VIP = "198.51.100.9"
NICS = (1, 8, 24)
_STOP_DEADLINE_S = 10


def main() -> int:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.network", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write every figure, in seconds, to this file")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        authorities = pki.create(Path(directory))
        for number in range(arguments.rounds):
            for count in NICS:
                for name, seconds in one_round(authorities, count).items():
                    figures.setdefault(name, []).append(seconds)
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    print(f"load average: {os.getloadavg()[0]:.1f}, rounds: {arguments.rounds}\n")
    print("| what | median, ms | least | most |\n| --- | --- | --- | --- |")
    for name, values in figures.items():
        middle, least, most = statistics.median(values), min(values), max(values)
        print(f"| {name} | {middle * 1000:.0f} | {least * 1000:.0f} | {most * 1000:.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def one_round(authorities: pki.Pki, nics: int) -> dict[str, float]:
    """Plug a VIP and members on `nics` NICs, forget all as a reboot does, and restore it."""
    with make_place(authorities) as place:
        with running(place):
            client = place.client(place.pki.controller)

            def post(path: str, body: dict[str, object]) -> None:
                answer = client.request("POST", path, json.dumps(body).encode())
                check(answer.status == 202, answer.body.decode())

            vip = timed(lambda: post(f"/1.0/plug/vip/{VIP}", vip_body()))
            addresses = run("ip", "-netns", place.inner.name, "address", "show", "dev", "eth1")
            check(f"{VIP}/32" in addresses, addresses)
            members = [member(place, number) for number in range(1, nics)]
            times = [timed(partial(post, "/1.0/plug/network", body)) for body in members]
        reboot(place, nics)
        restore = timed(lambda: interface_up(place))
        addresses = run("ip", "-netns", place.inner.name, "address", "show")
        check(addresses.count("scope global") >= nics + 1, addresses)
    found = {f"restore of {nics} NICs": restore}
    if nics == 1:
        found["plug/vip, request to addresses and routes"] = vip
    if times:
        found[f"plug/network beside {nics - 1} NICs"] = times[-1]
    return found


def check(fulfilled: bool, shown: str) -> None:
    """Stop when something that was measured did not do what it is for."""
    if not fulfilled:
        raise SystemExit(f"what was measured did not work: {shown}")


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


@contextmanager
def running(place: Place) -> Iterator[None]:
    """An agent that answers."""
    process = place.start()
    try:
        place.await_answer()
        yield
    finally:
        process.terminate()
        process.wait(timeout=_STOP_DEADLINE_S)


def vip_body() -> dict[str, object]:
    """Body of POST plug/vip."""
    return {
        "subnet_cidr": "198.51.100.0/24",
        "gateway": "198.51.100.1",
        "mac_address": NIC_MAC,
        "mtu": 1450,
        "vrrp_ip": "198.51.100.4",
        "host_routes": [],
        "additional_vips": [],
    }


def member(place: Place, number: int) -> dict[str, object]:
    """One more NIC outside, and the body that plugs it."""
    mac = f"02:00:00:00:01:{number:02x}"
    place.outer.ip(
        *("link", "add", f"nic{number}", "address", mac, "type", "veth"),
        *("peer", "name", f"net{number}", "netns", place.network.name),
    )
    place.network.ip("link", "set", f"net{number}", "up")
    subnet = f"10.0.{number}"
    fixed_ip = {"ip_address": f"{subnet}.4", "subnet_cidr": f"{subnet}.0/24", "host_routes": []}
    return {"mac_address": mac, "mtu": 1450, "fixed_ips": [fixed_ip]}


def reboot(place: Place, nics: int) -> None:
    """Put every NIC back into the root namespace, bare, and drop the rules."""
    for number in range(nics):
        name = f"eth{number + 1}"
        place.inner.ip("link", "set", name, "down")
        place.inner.ip("link", "set", name, "name", f"ens{number}", "netns", place.outer.name)
    place.inner.ip("rule", "delete", "from", VIP)


def interface_up(place: Place) -> None:
    """What the namespace's unit runs at boot."""
    run(
        *place.outer.command(
            *(sys.executable, "-m", "amphora_agent.interface_command", "up", "all", "--wait"),
            *("--config-file", str(place.config_file), "--netns", place.inner.name),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
