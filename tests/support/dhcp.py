# SPDX-License-Identifier: Apache-2.0
"""A DHCP server for one machine, as Neutron runs one per network: dnsmasq."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

from tests.support import need
from tests.support.netns import Namespace

_STOP_DEADLINE_S = 10


@contextmanager
def server(
    inside: Namespace,
    bridge: str,
    *,
    network: IPv4Network,
    router: IPv4Address,
    lease: tuple[str, IPv4Address],
    directory: Path,
    advertised: IPv6Network | None = None,
) -> Iterator[None]:
    """Serve one lease, a MAC address and its IPv4 address, with a default route.

    Args:
        router: offered as the default gateway.
        directory: for the file of leases.
        advertised: a network in which hosts are to make their addresses themselves; the server
            needs an address in it.
    """
    need.programs("dnsmasq")
    mac, address = lease
    advertise = (
        ("--enable-ra", f"--dhcp-range={advertised.network_address},ra-only") if advertised else ()
    )
    process = subprocess.Popen(
        inside.command(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"),
            *("--user=root", "--bind-interfaces", f"--interface={bridge}", "--no-ping"),
            *(f"--dhcp-leasefile={directory}/leases", "--pid-file="),
            f"--dhcp-range={network.network_address},static,{network.netmask}",
            f"--dhcp-host={mac},{address}",
            f"--dhcp-option=option:router,{router}",
            *advertise,
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=_STOP_DEADLINE_S)
