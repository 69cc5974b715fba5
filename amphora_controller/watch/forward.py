# SPDX-License-Identifier: Apache-2.0
"""Datagrams handed on to the health manager that the watch has taken the port of."""

import ipaddress
import socket
import time

from amphora_agent.errors import AgentError
from amphora_agent.system.datagram import DatagramSender

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forward:
    """Hands datagrams on, byte by byte.

    Args:
        sender: belongs to the caller, who closes it.

    Attributes:
        lost: datagrams that the kernel did not take; they are not sent again, as on the wire.
        trouble: why the last of them was lost; empty when the last datagram was taken.
    """

    def __init__(self, sender: DatagramSender, host: str, port: int) -> None:
        self.lost = 0
        self.trouble = ""
        self._sender = sender
        self._where = (host, port)

    def send(self, payload: bytes) -> None:
        """Hand one on."""
        try:
            self._sender.send(payload, *self._where, now_s=time.monotonic())
        except AgentError as exc:
            self.lost += 1
            self.trouble = str(exc)
        else:
            self.trouble = ""


def comes_back(listen: tuple[str, int], target: tuple[str, int]) -> bool:
    """Whether what is handed on would come in again where it came from.

    Args:
        listen, target: address or name, and port.
    """
    if listen[1] != target[1]:
        return False
    try:
        ours, theirs = _address(*listen), _address(*target)
    except OSError:
        return False  # nobody knows yet
    return ours == theirs or (ours.is_unspecified and _is_here(theirs))


def _address(host: str, port: int) -> Address:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return ipaddress.ip_address(str(found[0][4][0]))


def _is_here(address: Address) -> bool:
    """Whether an address is one of this host."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True
