# SPDX-License-Identifier: Apache-2.0
"""The documents of a config drive, read into frozen values.

Sources of the formats: Nova's metadata documentation (meta_data.json, the JSON schema of
network_data.json), cloud-init's manual (the part of #cloud-config that Octavia uses), ECMA-119 and
Microsoft's FAT specification (volume labels).

A document that cannot be read at all is a ParseError. One bad entry of an otherwise good document
is left out and told in `problems`, so that one mistake does not cost the amphora its network.
"""

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import TypeVar

from amphora_agent.errors import ParseError
from amphora_agent.models import IPAddress, IPInterface, IPNetwork, Route

T = TypeVar("T")

# Nova writes it in lower case; mkfs.vfat of some releases turns it into upper case.
VOLUME_LABEL = "config-2"
# The primary volume descriptor of ISO 9660 is the 2 KiB sector 16; FAT has its label in sector 0.
VOLUME_HEAD_BYTES = 17 * 2048

META_DATA = "openstack/latest/meta_data.json"
NETWORK_DATA = "openstack/latest/network_data.json"
USER_DATA = "openstack/latest/user_data"

_CONTENT_PATH = re.compile(r"/content/[A-Za-z0-9_-]+")
_HOST_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_SSH_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+ [A-Za-z0-9+/=]+(?: .*)?")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_PERMISSIONS = re.compile(r"(?:0o)?0?[0-7]{3}")

# Bytes. The least that IPv4 allows, and the most that its header can say.
_MTU = range(68, 65536)

_SECRETS = Path("/etc/octavia")
_SECRET_SUFFIXES = frozenset({".key", ".pem"})


class Method(StrEnum):
    """How a NIC comes by an address."""

    STATIC = "static"
    DHCP4 = "dhcp4"
    DHCP6 = "dhcp6"
    SLAAC = "slaac"


# Nova's type of a network -> IP version, method. `static` and `static6` are what other makers of
# config drives write. A stateless DHCPv6 server has no addresses to give, only names of other
# servers, so that router advertisements are all that such a network needs.
_NETWORK_TYPES = {
    "ipv4": (4, Method.STATIC),
    "static": (4, Method.STATIC),
    "ipv4_dhcp": (4, Method.DHCP4),
    "ipv6": (6, Method.STATIC),
    "static6": (6, Method.STATIC),
    "ipv6_slaac": (6, Method.SLAAC),
    "ipv6_dhcpv6-stateless": (6, Method.SLAAC),
    "ipv6_dhcpv6-stateful": (6, Method.DHCP6),
    "ipv6_dhcp": (6, Method.DHCP6),
}

# Every other type (phy, vif, ovs, bridge, tap, ...) says how the host plugs the NIC; inside the
# virtual machine they are all the same.
_UNSUPPORTED_LINKS = ("bond", "vlan")

# What Octavia has cloud-init run.
_KNOWN_COMMANDS = ("systemctl restart rsyslog", "service amphora-agent restart")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReference:
    """A file that Nova was asked to inject.

    Attributes:
        path: where it goes, absolute.
        content: where its bytes lie, relative to the top of the drive.
    """

    path: Path
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MetaData:
    """What meta_data.json says of the server.

    Attributes:
        instance_id: Nova's id of the server; None when the document has none.
        hostname: without a domain.
        public_keys: lines for authorized_keys.
        problems: entries that were left out, and why.
    """

    instance_id: str | None = None
    hostname: str | None = None
    files: tuple[FileReference, ...] = ()
    public_keys: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NicNetwork:
    """One network of a NIC.

    Attributes:
        address: with STATIC only.
        routes: without a gateway the destination is on the link.
        dns: servers of names.
    """

    method: Method
    address: IPInterface | None = None
    routes: tuple[Route, ...] = ()
    dns: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Nic:
    """A NIC with at least one network.

    Attributes:
        mac: lower case with colons.
        mtu: bytes; None when the cloud does not say.
    """

    mac: str
    mtu: int | None
    networks: tuple[NicNetwork, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkData:
    """What network_data.json says.

    Attributes:
        nics: in the order of the document; Octavia has the management port made first.
        dns: servers of names that belong to no network.
        problems: entries that were left out, and why.
    """

    nics: tuple[Nic, ...] = ()
    dns: tuple[IPAddress, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class UserFile:
    """An entry of `write_files`."""

    path: Path
    content: bytes = field(repr=False)
    mode: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UserData:
    """What user_data asks for.

    Attributes:
        timezone: name in the zone database; that it exists is not checked here.
        ignored: keys that have no effect.
        problems: entries that were left out, and why.
    """

    timezone: str | None = None
    files: tuple[UserFile, ...] = ()
    ignored: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def volume_label(head: bytes) -> str | None:
    """The label of an ISO 9660 or FAT volume; None for anything else.

    Args:
        head: the first VOLUME_HEAD_BYTES of the device; a shorter device gives less.
    """
    if head[0x8000:0x8006] == b"\x01CD001":
        raw = head[0x8028:0x8048]
    elif head[0x52:0x57] == b"FAT32":
        raw = head[0x47:0x52]
    elif head[0x36:0x39] == b"FAT":
        raw = head[0x2B:0x36]
    else:
        return None
    return raw.decode("latin-1").rstrip("\0 ")


def file_mode(path: Path) -> int:
    """The mode of an injected file: what may hold a key is for root alone."""
    is_secret = path.is_relative_to(_SECRETS) or path.suffix in _SECRET_SUFFIXES
    return 0o600 if is_secret else 0o644


def authorized_keys(existing: str, keys: Sequence[str]) -> str:
    """The text of an authorized_keys file with our block replaced and every other line kept."""
    begin = "# begin of the keys from the config drive; amphora-provision replaces this block"
    end = "# end of the keys from the config drive"
    block = "\n".join([begin, *keys, end, ""]) if keys else ""
    ours = re.search(rf"^{re.escape(begin)}$.*?^{re.escape(end)}\n", existing, re.M | re.S)
    if ours is not None:
        return existing[: ours.start()] + block + existing[ours.end() :]
    if existing and block and not existing.endswith("\n"):
        existing += "\n"
    return existing + block


def meta_data(data: bytes) -> MetaData:
    """Read meta_data.json.

    Raises:
        ParseError: it is not a JSON object.
    """
    document = _json_object(data)
    problems: list[str] = []
    references = _entries(document, "files", problems)
    return MetaData(
        instance_id=_optional(_instance_id, document, problems),
        hostname=_optional(_hostname, document, problems),
        files=tuple(_good("files", references, _file_reference, problems)),
        public_keys=tuple(_public_keys(document.get("public_keys"), problems)),
        problems=tuple(problems),
    )


def network_data(data: bytes) -> NetworkData:
    """Read network_data.json.

    Raises:
        ParseError: it is not a JSON object.
    """
    document = _json_object(data)
    problems: list[str] = []
    links = _links(document, problems)
    networks: dict[str, list[NicNetwork]] = {link.link_id: [] for link in links}
    skipped = _unsupported_ids(document)

    def network(entry: object) -> None:
        fields = _object(entry)
        link_id = _text(fields, "link")
        if link_id in skipped:
            return
        if link_id not in networks:
            raise ParseError(f"its link {_shown(link_id)} is not among the usable links")
        networks[link_id].append(_network(fields, problems))

    for _ in _good("networks", _entries(document, "networks", problems), network, problems):
        pass
    services = _entries(document, "services", problems)
    nics = tuple(
        Nic(mac=link.mac, mtu=link.mtu, networks=tuple(networks[link.link_id]))
        for link in links
        if networks[link.link_id]
    )
    return NetworkData(
        nics=nics, dns=_dns("services", services, problems), problems=tuple(problems)
    )


def user_data(data: bytes) -> UserData:
    """Read user_data, a #cloud-config document.

    Raises:
        ParseError: it is of another kind, or not YAML.
    """
    if not data.strip():
        return UserData()
    if not data.startswith(b"#cloud-config"):
        raise ParseError(
            "its first line is not #cloud-config",
            "scripts, MIME archives and compressed data have no effect in this image",
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise ParseError("it is not UTF-8 text", str(exc)) from exc
    document = _usual_user_data(text) or _yaml_object(text)
    problems: list[str] = []
    files = _entries(document, "write_files", problems)
    # The commands are not run: Octavia only asks for restarts of services that must see the
    # injected files, and the units of this image start after the files have been written.
    known = {"write_files", "timezone"}
    if all(command in _KNOWN_COMMANDS for command in _entries(document, "runcmd", [])):
        known.add("runcmd")
    return UserData(
        timezone=_optional(_timezone, document, problems),
        files=tuple(_good("write_files", files, _user_file, problems)),
        ignored=tuple(sorted(key for key in document if key not in known)),
        problems=tuple(problems),
    )


# Documents


def _json_object(data: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ParseError("it is not JSON", str(exc)) from exc
    return _object(document)


def _usual_user_data(text: str) -> Mapping[str, object] | None:
    """What YAML would make of the user_data that nearly every amphora gets; None for any other.

    The YAML library costs more time than all the rest of the provisioner.
    """
    if not text.isascii() or not text.replace("\n", "").isprintable():
        return None
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    usual = re.fullmatch(
        r"runcmd:\n-   systemctl restart rsyslog\ntimezone: ([A-Za-z]+(?:/[A-Za-z_]+)*)",
        "\n".join(lines),
    )
    if usual is None:
        return None
    return {"runcmd": ["systemctl restart rsyslog"], "timezone": usual[1]}


def _yaml_object(text: str) -> Mapping[str, object]:
    import yaml  # noqa: PLC0415 - needed on few boots, and slow to import

    try:
        # Only strings, lists and mappings come out: `permissions: 0644` stays as it is written.
        # Not the C loader: deeply nested text makes that one overflow its stack.
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - builds no objects
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as exc:
        where = getattr(exc, "problem_mark", None)
        line = f"line {where.line + 1}: " if where else ""
        raise ParseError("it is not YAML", line + str(getattr(exc, "problem", exc))) from exc
    return {} if document in (None, "") else _object(document)


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ParseError(f"a mapping of names to values is needed, not {_kind(value)}")
    return {key: item for key, item in value.items() if isinstance(key, str)}


def _shown(value: object) -> str:
    """A value for a message: short, on one line, and never deeply nested."""
    if value is None or isinstance(value, str | int | float):
        return f"{value!r:.100}"
    return _kind(value)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _entries(document: Mapping[str, object], key: str, problems: list[str]) -> list[object]:
    """The list under a key; empty when there is none."""
    value = document.get(key)
    if isinstance(value, list):
        return value
    if value not in (None, ""):
        problems.append(f"{key}: a list is needed, not {_kind(value)}")
    return []


def _good(
    key: str, entries: list[object], read: Callable[[object], T], problems: list[str]
) -> Iterator[T]:
    """Every entry that can be read; the others become problems."""
    for index, entry in enumerate(entries):
        try:
            yield read(entry)
        except ParseError as exc:
            problems.append(f"{key}[{index}]: {exc}")


def _optional(
    read: Callable[[Mapping[str, object]], T | None],
    document: Mapping[str, object],
    problems: list[str],
) -> T | None:
    try:
        return read(document)
    except ParseError as exc:
        problems.append(str(exc))
        return None


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise ParseError(f"{key} is missing or not a text")
    return value


# meta_data.json


def _instance_id(document: Mapping[str, object]) -> str:
    value = _text(document, "uuid")
    if not value.isprintable():
        raise ParseError(f"uuid {_shown(value)} has control characters")
    return value


def _hostname(document: Mapping[str, object]) -> str | None:
    key = "hostname" if document.get("hostname") else "name"
    if not document.get(key):
        return None
    value = _text(document, key)
    label = value.partition(".")[0]
    if not _HOST_LABEL.fullmatch(label):
        raise ParseError(
            f"{key} {_shown(value)} is not a host name",
            "letters, digits and inner hyphens, up to 63 before the first dot",
        )
    return label


def _file_reference(entry: object) -> FileReference:
    fields = _object(entry)
    path = _target(fields)
    content = _text(fields, "content_path")
    if not _CONTENT_PATH.fullmatch(content):
        raise ParseError(f"content_path {_shown(content)} of {path} is not like /content/0000")
    return FileReference(path=path, content=f"openstack{content}")


def _target(fields: Mapping[str, object]) -> Path:
    value = _text(fields, "path")
    is_plain = value.isprintable() and posixpath.normpath(value) == value
    if not is_plain or not value.startswith("/") or value.startswith("//") or value == "/":
        raise ParseError(f"path {_shown(value)} is refused", "it must be absolute, without '..'")
    return Path(value)


def _public_keys(value: object, problems: list[str]) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, dict):
        problems.append(f"public_keys: names with keys are needed, not {_kind(value)}")
        return
    for name, text in value.items():
        lines = [line.strip() for line in text.splitlines()] if isinstance(text, str) else []
        keys = [line for line in lines if line]
        if keys and all(key.isprintable() and _SSH_KEY.fullmatch(key) for key in keys):
            yield from keys
        else:
            problems.append(f"public_keys: {_shown(name)} is not an OpenSSH public key")


# network_data.json


@dataclass(frozen=True, kw_only=True, slots=True)
class _Link:
    link_id: str
    mac: str
    mtu: int | None


def _links(document: Mapping[str, object], problems: list[str]) -> list[_Link]:
    """The usable links, with unique ids and addresses."""
    links: dict[str, _Link] = {}
    macs: set[str] = set()
    entries = _entries(document, "links", problems)
    for link in _good("links", entries, lambda entry: _link(entry, problems), problems):
        if link.link_id in links or link.mac in macs:
            problems.append(f"links: {link.link_id!r:.60} ({link.mac}) is there twice")
            continue
        links[link.link_id] = link
        macs.add(link.mac)
    return list(links.values())


def _link(entry: object, problems: list[str]) -> _Link:
    fields = _object(entry)
    link_id = _text(fields, "id")
    if fields.get("type") in _UNSUPPORTED_LINKS:
        raise ParseError(
            f"link {_shown(link_id)} is a {fields['type']}",
            "bonds and VLANs are not supported inside an amphora; give it a plain port",
        )
    mac = _text(fields, "ethernet_mac_address").lower()
    if not _MAC.fullmatch(mac):
        raise ParseError(f"ethernet_mac_address {_shown(mac)} is not like fa:16:3e:00:00:01")
    mtu = fields.get("mtu")
    if mtu is not None and (type(mtu) is not int or mtu not in _MTU):
        problems.append(
            f"links: mtu {_shown(mtu)} of {_shown(link_id)} is not a number of bytes from"
            f" {_MTU.start} to {_MTU.stop - 1}; the NIC keeps its own"
        )
        mtu = None
    return _Link(link_id=link_id, mac=mac, mtu=mtu if isinstance(mtu, int) else None)


def _unsupported_ids(document: Mapping[str, object]) -> set[object]:
    """Ids of links that have been told of already, so that their networks need not be."""
    links = (entry for entry in _entries(document, "links", []) if isinstance(entry, dict))
    ids = (link.get("id") for link in links if link.get("type") in _UNSUPPORTED_LINKS)
    return {link_id for link_id in ids if isinstance(link_id, str)}


def _network(fields: Mapping[str, object], problems: list[str]) -> NicNetwork:
    kind = _text(fields, "type")
    if kind not in _NETWORK_TYPES:
        raise ParseError(f"type {_shown(kind)} is unknown", f"known: {', '.join(_NETWORK_TYPES)}")
    version, method = _NETWORK_TYPES[kind]
    where = f"network {_shown(fields.get('id'))}"
    routes = _entries(fields, "routes", problems)
    services = _entries(fields, "services", problems)
    return NicNetwork(
        method=method,
        address=_address(fields, version) if method is Method.STATIC else None,
        routes=tuple(_good(f"{where} routes", routes, lambda r: _route(r, version), problems)),
        dns=_dns(f"{where} services", services, problems),
    )


def _address(fields: Mapping[str, object], version: int) -> IPInterface:
    address, _, prefix = _text(fields, "ip_address").partition("/")
    host = _ip(address, version, "ip_address")
    if host.is_unspecified or host.is_multicast:
        raise ParseError(f"ip_address {address} cannot be the address of a host")
    bits = _prefix(prefix or fields.get("netmask"), version)
    return ip_interface((host, bits))


def _route(entry: object, version: int) -> Route:
    fields = _object(entry)
    network, _, prefix = _text(fields, "network").partition("/")
    base = _ip(network, version, "network")
    bits = _prefix(prefix or fields.get("netmask"), version)
    gateway = _ip(fields["gateway"], version, "gateway") if fields.get("gateway") else None
    if gateway is not None and gateway.is_unspecified:
        gateway = None  # Neutron's way of saying that the destination is on the link
    destination: IPNetwork = ip_network((base, bits), strict=False)
    return Route(destination=destination, gateway=gateway)


def _dns(where: str, services: list[object], problems: list[str]) -> tuple[IPAddress, ...]:
    servers = [
        service
        for service in services
        if not isinstance(service, dict) or service.get("type") == "dns"
    ]
    return tuple(_good(where, servers, lambda s: _any_ip(_object(s).get("address")), problems))


def _any_ip(value: object) -> IPAddress:
    # A scope (fe80::1%eth0) may hold any character, line feeds too, and names interfaces that a
    # cloud cannot know.
    if not isinstance(value, str) or "%" in value:
        raise ParseError(f"{_shown(value)} is not an IP address")
    try:
        return ip_address(value)
    except ValueError as exc:
        raise ParseError(f"{_shown(value)} is not an IP address") from exc


def _ip(value: object, version: int, key: str) -> IPAddress:
    try:
        address = _any_ip(value)
    except ParseError as exc:
        raise ParseError(f"{key} {exc}") from exc
    if address.version != version:
        raise ParseError(f"{key} {address} is not an IPv{version} address")
    return address


def _prefix(value: object, version: int) -> int:
    """Bits of a netmask, given as a number or in the form of an address."""
    most = 32 if version == 4 else 128
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}", value):
        value = int(value)
    if type(value) is int and 0 <= value <= most:
        return value
    if not isinstance(value, str):
        raise ParseError(f"netmask {_shown(value)} is neither a mask nor 0 to {most} bits")
    inverse = int(_ip(value, version, "netmask")) ^ ((1 << most) - 1)
    if inverse & (inverse + 1):
        raise ParseError(f"netmask {_shown(value)} has a gap in its bits")
    return most - inverse.bit_length()


# user_data


def _timezone(document: Mapping[str, object]) -> str | None:
    value = document.get("timezone")
    if value in (None, ""):
        return None
    if not isinstance(value, str) or not _ZONE.fullmatch(value):
        raise ParseError(f"timezone {_shown(value)} is not a name like UTC or Europe/Zurich")
    return value


def _user_file(entry: object) -> UserFile:
    fields = _object(entry)
    path = _target(fields)
    content = fields.get("content", "")
    if not isinstance(content, str):
        raise ParseError(f"content of {path} is not a text")
    if fields.get("encoding", "text/plain") != "text/plain":
        raise ParseError(f"encoding of {path} is not supported", "give the content as plain text")
    if fields.get("append", "false") != "false":
        raise ParseError(f"append of {path} is not supported", "give the whole content")
    if fields.get("owner", "root:root") not in ("root", "root:root"):
        raise ParseError(f"owner of {path} must be root:root")
    return UserFile(path=path, content=_encode(content, path), mode=_user_mode(fields, path))


def _encode(content: str, path: Path) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError as exc:
        raise ParseError(f"content of {path} is not Unicode text", str(exc)) from exc


def _user_mode(fields: Mapping[str, object], path: Path) -> int:
    """The mode asked for, except that what may hold a key stays with root."""
    mode = file_mode(path)
    value = fields.get("permissions")
    if value is None:
        return mode
    if not isinstance(value, str) or not _PERMISSIONS.fullmatch(value):
        raise ParseError(f"permissions {_shown(value)} of {path} are not like 0644")
    asked = int(value.removeprefix("0o"), 8)
    return asked if mode == 0o644 else asked & 0o700
