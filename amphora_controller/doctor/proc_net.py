# SPDX-License-Identifier: Apache-2.0
"""/proc/net/udp and /proc/net/udp6 (proc_net(5)): who listens on this machine."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from amphora_controller.doctor.options import Address, Endpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A line of the table; `inode` is that of /proc/<pid>/fd's `socket:[inode]`."""

    local: Endpoint
    inode: int
    waiting_bytes: int
    dropped: int


def entries(text: str) -> Iterator[Entry]:
    """Every socket of a table that is bound to a port; lines that are none are passed over."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        address, _, port = fields[1].partition(":") if len(fields) >= 13 else ("", "", "")
        if port and int(port, 16):
            yield Entry(
                local=Endpoint(_address(address), int(port, 16)),
                inode=int(fields[9]),
                waiting_bytes=int(fields[4].partition(":")[2], 16),
                dropped=int(fields[12]),
            )


def _address(text: str) -> Address:
    """Words of 32 bits, each in this machine's order of bytes."""
    words = [int(text[begin : begin + 8], 16) for begin in range(0, len(text), 8)]
    return ip_address(struct.pack(f"={len(words)}I", *words))
