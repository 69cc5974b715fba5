# SPDX-License-Identifier: Apache-2.0
"""The real systemd-networkd with what amphora-provision wrote."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.functional.provision.drives import CASES, GOLDEN
from tests.support import need, waiting
from tests.support.netns import Namespace, namespace

NETWORKD = Path("/usr/lib/systemd/systemd-networkd")


@contextmanager
def networkd(inside: Namespace, files: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run systemd-networkd in a namespace with the .network files of a directory."""
    # A read-only /sys tells it that no udev will announce the links.
    script = (
        "mount -t tmpfs none /run && mkdir -p /run/systemd/network /run/systemd/netif/links"
        ' /run/systemd/netif/leases && cp "$1"/* /run/systemd/network'
        " && chown -R systemd-network:systemd-network /run/systemd/netif"
        ' && mount -o remount,bind,ro /sys && exec "$2"'
    )
    argv = inside.command("unshare", "--mount", "sh", "-c", script, "sh", str(files), str(NETWORKD))
    environment = os.environ | {"SYSTEMD_LOG_LEVEL": "info", "SYSTEMD_LOG_TARGET": "console"}
    with log.open("wb") as stream:
        process = subprocess.Popen(argv, stdout=stream, stderr=stream, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def plug(inside: Namespace, files: Path) -> list[str]:
    """Add a NIC, with the other end up, for every file; their names."""
    names = []
    for number, path in enumerate(sorted(files.iterdir())):
        mac = re.findall(r"^MACAddress=(.*)$", path.read_text(), re.MULTILINE)[0]
        nic, peer = f"nic{number}", f"peer{number}"
        inside.ip("link", "add", nic, "mtu", "9000", "address", mac, "type", "veth", "peer",
                  "name", peer, "mtu", "9000")  # fmt: skip
        inside.ip("link", "set", peer, "up")
        names.append(nic)
    return names


def complaints(log: Path) -> list[str]:
    """What networkd said against its files."""
    pattern = re.compile(r"unknown|invalid|ignor|fail|could not parse|missing", re.IGNORECASE)
    return [line for line in log.read_text().splitlines() if pattern.search(line)]


@pytest.mark.netns
@pytest.mark.parametrize("case", CASES)
def test_networkd_accepts_every_file(case: str, tmp_path: Path) -> None:
    """The real program takes every NIC of every case, and complains of no line."""
    need_networkd()
    files = GOLDEN / case / "tree/run/systemd/network"
    log = tmp_path / "log"
    with namespace("networkd") as inside:
        nics = plug(inside, files)
        with networkd(inside, files, log):
            taken = [f"{nic}: Configuring with /run/systemd/network/" for nic in nics]
            waiting.until(
                "every NIC to be taken",
                lambda: all(line in log.read_text() for line in taken) or None,
                deadline_s=60,
                every_s=0.1,
            )
    assert complaints(log) == []


@pytest.mark.netns
def test_networkd_complaints_are_seen(tmp_path: Path) -> None:
    """The test above would notice a key that networkd does not know."""
    need_networkd()
    files = tmp_path / "files"
    files.mkdir()
    (files / "10-x.network").write_text("[Match]\nMACAddress=fa:16:3e:00:00:01\nSurprise=yes\n")
    log = tmp_path / "log"
    with namespace("networkd") as inside:
        plug(inside, files)
        with networkd(inside, files, log):
            waiting.until(
                "a complaint", lambda: complaints(log) or None, deadline_s=60, every_s=0.1
            )
    assert "Surprise" in complaints(log)[0]


@pytest.mark.netns
def test_networkd_makes_the_addresses_and_routes_of_the_data(tmp_path: Path) -> None:
    """The kernel ends up with the addresses, routes and MTU that the drive asked for."""
    need_networkd()
    files = GOLDEN / "dual-stack/tree/run/systemd/network"
    wanted = {
        "192.0.2.17/24", "2001:db8::17/64", "default via 192.0.2.1", "default via fe80::1",
        "198.51.100.0/24 via 192.0.2.2", "203.0.113.0/25 on the link",
        "2001:db8:1::/48 via 2001:db8::2", "mtu 9000",
    }  # fmt: skip
    with namespace("networkd") as inside:
        nic, *_ = plug(inside, files)
        with networkd(inside, files, tmp_path / "log"):
            waiting.until(
                "addresses and routes",
                lambda: wanted <= configured(inside, nic) or None,
                deadline_s=60,
                every_s=0.2,
            )
        # Nothing else but what the kernel itself adds for the two addresses.
        kernel = {"192.0.2.0/24 on the link", "2001:db8::/64 on the link", "fe80::/64 on the link"}
        assert configured(inside, nic) - wanted <= kernel


def configured(inside: Namespace, nic: str) -> set[str]:
    """Global addresses, routes of the main table and MTU of a NIC."""

    def ask(*argv: str) -> list[dict[str, object]]:
        text = subprocess.check_output(["ip", "-json", "-netns", inside.name, *argv], text=True)
        answer: list[dict[str, object]] = json.loads(text or "[]")
        return answer

    [link] = ask("address", "show", "dev", nic)
    addresses = link["addr_info"]
    assert isinstance(addresses, list)
    found = {f"{it['local']}/{it['prefixlen']}" for it in addresses if it["scope"] == "global"}
    for family in ("-4", "-6"):
        for route in ask(family, "route", "show", "dev", nic):
            way = f"via {route['gateway']}" if "gateway" in route else "on the link"
            found.add(f"{route['dst']} {way}")
    return found | {f"mtu {link['mtu']}"}


def need_networkd() -> None:
    """Require root and the program."""
    need.root()
    need.programs("ip", "unshare")
    if not NETWORKD.exists():
        need.missing(f"{NETWORKD} is not installed; ./test.sh installs it")
