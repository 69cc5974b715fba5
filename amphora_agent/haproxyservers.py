# SPDX-License-Identifier: Apache-2.0
"""Servers of haproxy: as a configuration has them, and as a worker says they are.

Formats: HAProxy configuration manual, "server"; management guide, "show servers state".
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from amphora_agent.errors import ParseError
from amphora_agent.haproxycfg import Directive, Section
from amphora_agent.models import IPAddress

# What a word of a `server` line takes after it; those that Octavia renders, and some more.
_WITH_VALUE = frozenset(
    {
        *("inter", "fastinter", "downinter", "fall", "rise", "addr", "port", "cookie"),
        *("maxconn", "maxqueue", "minconn", "slowstart", "verify", "ca-file", "crl-file", "crt"),
        *("sni", "alpn", "check-alpn", "check-sni", "ciphers", "ciphersuites", "error-limit"),
        *("on-error", "on-marked-down", "on-marked-up", "proto", "proxy-v2-options", "observe"),
        *("ssl-min-ver", "ssl-max-ver", "pool-max-conn", "pool-purge-delay", "pool-low-conn"),
    }
)
_FLAGS = frozenset(
    {
        *("check", "backup", "send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "disabled"),
        *("send-proxy-v2-ssl-cn", "check-ssl", "check-send-proxy", "ssl", "enabled", "no-sslv3"),
        *("no-tlsv10", "no-tlsv11", "no-tlsv12", "no-tlsv13", "no-tls-tickets", "no-ssl-reuse"),
    }
)
_STATE_VERSION = "1"
# Bits of srv_admin_state: somebody, a tracked server, or the lack of an address forces maintenance.
_MAINTENANCE = 0x01 | 0x02 | 0x20
# haproxy's own defaults.
_WEIGHT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server, with what can be changed while haproxy runs apart from the rest.

    Attributes:
        address: None where it is not an IP address with a port.
        parameters: keyword and value ("" for a flag), in order, without weight and admin state.
    """

    name: str
    address: tuple[IPAddress, int] | None
    weight: int
    disabled: bool
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What a worker says of a server."""

    address: str
    port: int
    weight: int
    in_maintenance: bool


Key = tuple[str, str]  # backend, server


def parse_line(line: Directive) -> Server | None:
    """A `server` line; None where it has words that are not known here."""
    if len(line.words) < 3:
        return None
    _server, name, address, *words = line.words
    parameters: list[tuple[str, str]] = []
    weight, disabled = _WEIGHT, False
    rest = iter(words)
    for word in rest:
        value = next(rest, "") if word == "weight" or word in _WITH_VALUE else ""
        if word == "weight" and value.isdecimal():
            weight = int(value)
        elif word in {"disabled", "enabled"}:
            disabled = word == "disabled"
        elif word in _FLAGS or (value and word in _WITH_VALUE):
            parameters.append((word, value))
        else:
            return None
    return Server(
        name=name,
        address=_address(address),
        weight=weight,
        disabled=disabled,
        parameters=tuple(parameters),
    )


def configured(sections: Iterable[Section]) -> dict[Key, Server | None]:
    """The servers of a configuration; None for one whose line is not understood."""
    return {
        (section.name, line.words[1]): parse_line(line)
        for section in sections
        if section.kind in {"backend", "listen"}
        for line in section.body
        if line.name == "server" and len(line.words) > 1
    }


def states(text: str) -> dict[Key, State]:
    """What `show servers state` says.

    Raises:
        ParseError: it has another format.
    """
    return {
        (row["be_name"], row["srv_name"]): State(
            address=row["srv_addr"],
            port=_number(row["srv_port"]),
            weight=_number(row["srv_uweight"]),
            in_maintenance=bool(_number(row["srv_admin_state"]) & _MAINTENANCE),
        )
        for row in _rows(text)
    }


def difference(servers: Mapping[Key, Server | None], found: Mapping[Key, State]) -> str | None:
    """The first thing in which a worker's servers are not those of the configuration."""
    backends = {backend for backend, _server in servers}
    for key in found.keys() - servers.keys():
        # haproxy has backends of its own, for example for its HTTP client.
        if key[0] in backends:
            return f"server {'/'.join(key)} is still there"
    for key, server in servers.items():
        state = found.get(key)
        if state is None:
            return f"server {'/'.join(key)} is missing"
        if server is not None and (fault := _server_difference(server, state)):
            return f"server {'/'.join(key)} {fault}"
    return None


def kept_state(text: str, servers: Mapping[Key, Server | None]) -> str:
    """A state file for a worker of another configuration, from what the worker before says.

    haproxy would take weight, admin state, address and port from it over what the configuration
    says. Here the configuration wins: only the findings of health checks are kept, of servers that
    are the same in both and in maintenance in neither.

    Raises:
        ParseError: it has another format.
    """
    lines = text.split("\n")[:2]
    for row in _rows(text):
        server = servers.get((row["be_name"], row["srv_name"]))
        if server is None or server.address is None or server.disabled:
            continue
        address, port = server.address
        same = (row["srv_addr"], row["srv_port"]) == (str(address), str(port))
        if same and not _number(row["srv_admin_state"]) & _MAINTENANCE:
            weight = str(server.weight)
            # Equal weights: the file's holds. No admin state: nothing is forced by hand.
            row |= {"srv_uweight": weight, "srv_iweight": weight, "srv_admin_state": "0"}
            lines.append(" ".join(row.values()))
    return "\n".join(lines) + "\n"


def _server_difference(server: Server, state: State) -> str | None:
    if state.in_maintenance != server.disabled:
        return "is in maintenance" if state.in_maintenance else "is not in maintenance"
    if state.weight != server.weight:
        return f"has weight {state.weight}"
    if server.address and (str(server.address[0]), server.address[1]) != (
        state.address,
        state.port,
    ):
        return f"has address {state.address} port {state.port}"
    return None


def _address(text: str) -> tuple[IPAddress, int] | None:
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    return (address, int(port)) if port.isdecimal() else None


def _rows(text: str) -> Iterator[dict[str, str]]:
    version, _, rest = text.partition("\n")
    header, _, body = rest.partition("\n")
    if version.strip() != _STATE_VERSION or not header.startswith("# "):
        raise ParseError("not an answer to `show servers state`", text[:80])
    columns = header[2:].split()
    for line in body.split("\n"):
        values = line.split()
        if values and not line.startswith("#"):
            if len(values) != len(columns):
                raise ParseError("not a row of `show servers state`", line)
            yield dict(zip(columns, values, strict=True))


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as exc:
        raise ParseError("not a number in `show servers state`", text) from exc
