# SPDX-License-Identifier: Apache-2.0
"""What the kernel and the service manager say, as text for people."""

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from amphora_agent.errors import CommandFailed
from amphora_agent.system import namespace, process

_EACH_TIMEOUT_S = 2.0
# Whoever asks for all of it waits for it.
_ALL_TIMEOUT_S = 6.0
_JOURNAL_LINES = 2000

# Name of a text -> the program that says it, inside the amphora's namespace.
_INSIDE = {
    "network/addresses": ("ip", "address", "show"),
    "network/links": ("ip", "-s", "link", "show"),
    "network/routes": ("ip", "route", "show", "table", "all"),
    "network/routes-6": ("ip", "-6", "route", "show", "table", "all"),
    "network/rules": ("ip", "rule", "show"),
    "network/rules-6": ("ip", "-6", "rule", "show"),
    "network/neighbours": ("ip", "neighbour", "show"),
    "network/sockets": ("ss", "-lntup"),
    "network/nftables": ("nft", "list", "ruleset"),
    "network/ipvs": ("ipvsadm", "-Ln"),
}
_OUTSIDE = {
    "system/addresses": ("ip", "address", "show"),
    "system/routes": ("ip", "route", "show", "table", "all"),
    "system/units": ("systemctl", "list-units", "--all", "--no-pager", "--plain"),
    "system/failed": ("systemctl", "status", "--failed", "--no-pager", "--lines=5"),
    "system/kernel": ("uname", "-a"),
    "system/disks": ("df", "-h"),
    "system/journal": (
        *("journalctl", "--boot", "--no-pager", "--output=short-iso"),
        f"--lines={_JOURNAL_LINES}",
    ),
}


class Evidence(Protocol):
    """What an operator would look at."""

    def texts(self) -> Iterator[tuple[str, str]]:
        """Names and texts; one that cannot be had says why. They may hold secrets."""


class ProgramEvidence:
    """The words of the installed programs.

    Args:
        netns: name of the amphora's namespace.
    """

    def __init__(self, netns: str) -> None:
        self._netns = netns

    def texts(self) -> Iterator[tuple[str, str]]:
        """See Evidence."""
        deadline_s = time.monotonic() + _ALL_TIMEOUT_S
        inside = self._netns if namespace.exists(self._netns) else None
        for name, argv in _OUTSIDE.items():
            yield name, _said(argv, None, deadline_s)
        for name, argv in _INSIDE.items():
            if inside is None:
                yield name, f"there is no namespace {self._netns}\n"
            else:
                yield name, _said(argv, inside, deadline_s)


def _said(argv: Sequence[str], netns: str | None, deadline_s: float) -> str:
    timeout_s = min(_EACH_TIMEOUT_S, deadline_s - time.monotonic())
    if timeout_s <= 0:
        return "not asked: the programs before took all the time\n"
    try:
        done = namespace.call(netns, lambda: process.run(argv, timeout_s=timeout_s, check=False))
    except (CommandFailed, OSError) as exc:
        return f"{exc}\n"
    return f"{done.output}\n"
