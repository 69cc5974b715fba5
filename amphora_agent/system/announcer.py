# SPDX-License-Identifier: Apache-2.0
"""Announcements of addresses to the neighbours on a link."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Collection
from typing import Protocol

from amphora_agent import announce
from amphora_agent.errors import AgentError
from amphora_agent.models import IPAddress
from amphora_agent.system import namespace

LOG = logging.getLogger(__name__)

# RFC 4861, 10: up to three advertisements, a second apart. The first may find a switch that does
# not forward to the port yet; a switch that missed all would send to the old place for minutes.
_REPEATS = 2
_INTERVAL_S = 1.0

_MAC_BYTES = 6


class Announcer(Protocol):
    """Tells the neighbours of the amphora's NICs where an address is."""

    def announce(self, interface: str, addresses: Collection[IPAddress]) -> None:
        """Announce addresses from an interface of the amphora's namespace.

        When this returns, each was announced once; the repeats are not waited for.

        Raises:
            AgentError: there is no such interface, or it cannot send.
        """


class PacketAnnouncer:
    """Sends gratuitous ARP and unsolicited neighbour advertisements.

    Args:
        netns: the namespace of the interfaces.
    """

    def __init__(self, netns: str) -> None:
        self._netns = netns

    def announce(self, interface: str, addresses: Collection[IPAddress]) -> None:
        """See Announcer."""
        try:
            with contextlib.ExitStack() as stack:
                link = stack.enter_context(namespace.call(self._netns, lambda: _open(interface)))
                mac = link.getsockname()[4]
                if len(mac) != _MAC_BYTES:
                    raise AgentError(f"{interface} is no Ethernet", f"address {mac.hex()}")
                frames = [announce.frame(mac, address) for address in addresses]
                _send(link, frames)
                # The thread closes the socket; a daemon, so that the end of the agent is not late.
                kept = stack.pop_all()
                threading.Thread(
                    target=_repeat,
                    args=(kept, link, frames),
                    name=f"announce-{interface}",
                    daemon=True,
                ).start()
        except OSError as exc:
            raise AgentError(f"{interface} cannot announce its addresses", str(exc)) from exc


def _open(interface: str) -> socket.socket:
    # Protocol 0: it receives nothing.
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        link.bind((interface, 0))
        # A NIC whose queue is stuck must not hold a request up.
        link.setblocking(False)
    except OSError:
        link.close()
        raise
    return link


def _send(link: socket.socket, frames: Collection[bytes]) -> None:
    for frame in frames:
        link.send(frame)


def _repeat(kept: contextlib.ExitStack, link: socket.socket, frames: Collection[bytes]) -> None:
    with kept:
        for _ in range(_REPEATS):
            time.sleep(_INTERVAL_S)
            try:
                _send(link, frames)
            except OSError as exc:
                LOG.info("Addresses are not announced again: %s", exc)
                return
