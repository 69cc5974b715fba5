# SPDX-License-Identifier: Apache-2.0
"""keepalived's configuration of one UDP or SCTP listener, read for what it serves.

Octavia renders it (`lvs/templates`), and comments in it are the only link from IPVS to the ids of
the controller: `# Configuration for <kind> <uuid>` before what it configures, and `# <kind> <uuid>
is disabled`. Everything that is not looked for is passed over, so that no line of a future
template takes a listener out of the heartbeat.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from amphora_agent.ipvs import Endpoint

_UUID = r"(?P<id>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
_CONFIGURED = re.compile(rf"#\s*Configuration for (?P<kind>\w+) {_UUID}")
_DISABLED = re.compile(rf"#\s*(?P<kind>\w+) {_UUID} is disabled")
_CHECKERS = frozenset({"MISC_CHECK", "HTTP_GET", "TCP_CHECK"})
_DEFAULT_PROTOCOL = "TCP"  # keepalived.conf(5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A member; one that is disabled has no endpoint in the file."""

    id: str
    endpoint: Endpoint | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LvsConfig:
    """What one file configures.

    Attributes:
        is_disabled: a comment says so of the listener.
        pool_id: its default pool; None when there is none, or a disabled one.
        has_checker: whether keepalived probes members.
        services: protocol and endpoint of every virtual server.
        members: of both address families.
    """

    is_disabled: bool
    pool_id: str | None
    has_checker: bool
    services: frozenset[tuple[str, Endpoint]]
    members: tuple[Member, ...]


def parse(text: str) -> LvsConfig:
    """Read a configuration; text that is none gives a listener without anything."""
    reader = _Reader()
    for line in text.splitlines():
        reader.take(line.strip())
    return reader.config()


class _Reader:
    """Keeps what the lines so far have said."""

    def __init__(self) -> None:
        self._is_disabled = False
        self._pool_id: str | None = None
        self._has_checker = False
        self._members: dict[str, Endpoint | None] = {}
        self._comment: str | None = None
        self._groups: dict[str, list[Endpoint]] = {}
        self._servers: list[tuple[list[Endpoint] | str, str]] = []
        self._group: str | None = None

    def take(self, line: str) -> None:
        """Read one line."""
        if line.startswith("#"):
            self._take_comment(line)
            return
        words = line.split()
        if not words:
            return
        if words[0] == "virtual_server_group" and len(words) > 1:
            self._group = words[1]
            self._groups[self._group] = []
        elif words[0] == "virtual_server" and len(words) > 2:
            endpoint = _endpoint(words[1], words[2])
            where = words[2] if words[1] == "group" else [endpoint] if endpoint else []
            self._servers.append((where, _DEFAULT_PROTOCOL))
        elif words[0] == "protocol" and len(words) > 1 and self._servers:
            self._servers[-1] = (self._servers[-1][0], words[1].upper())
        elif words[0] == "real_server" and len(words) > 2:
            self._take_member(_endpoint(words[1], words[2]))
        elif words[0] in _CHECKERS:
            self._has_checker = True
        elif words[0] == "}":
            self._group = None
        elif self._group is not None and len(words) > 1:
            endpoint = _endpoint(words[0], words[1])
            if endpoint is not None:
                self._groups[self._group].append(endpoint)

    def config(self) -> LvsConfig:
        """What all lines together say."""
        return LvsConfig(
            is_disabled=self._is_disabled,
            pool_id=self._pool_id,
            has_checker=self._has_checker,
            services=frozenset(self._services()),
            members=tuple(Member(id=name, endpoint=at) for name, at in self._members.items()),
        )

    def _take_comment(self, line: str) -> None:
        if found := _CONFIGURED.fullmatch(line):
            if found["kind"] == "Pool":
                self._pool_id = found["id"]
            elif found["kind"] == "Member":
                self._comment = found["id"]
        elif found := _DISABLED.fullmatch(line):
            if found["kind"] == "Listener":
                self._is_disabled = True
            elif found["kind"] == "Member":
                self._members[found["id"]] = None

    def _take_member(self, endpoint: Endpoint | None) -> None:
        if self._comment is not None and endpoint is not None:
            self._members[self._comment] = endpoint
        self._comment = None

    def _services(self) -> Iterator[tuple[str, Endpoint]]:
        for where, protocol in self._servers:
            endpoints = self._groups.get(where, []) if isinstance(where, str) else where
            for endpoint in endpoints:
                yield protocol, endpoint


def _endpoint(address: str, port: str) -> Endpoint | None:
    try:
        return Endpoint(address=ip_address(address), port=int(port.rstrip("{")))
    except ValueError:
        return None
