# SPDX-License-Identifier: Apache-2.0
"""The site: what the controller side has to know of one cloud, in one file."""

import re
import secrets
from collections.abc import Iterator
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from amphora_agent.balancer.values import Address, decode
from amphora_controller import site_cloud
from amphora_controller.certificates.issue import KeyKind
from amphora_controller.errors import ControllerError
from amphora_controller.site_cloud import AmphoraSite, Endpoints, Management
from amphora_controller.site_host import DatabaseAdmin, HostSite, ServicesSite
from amphora_controller.site_part import Name, Part, Port, Url

_Days = Annotated[int, Meta(ge=1)]

# Octavia renders the amphora's configuration with HTML escapes, and oslo.config gives `$` and
# quotes a meaning: only these arrive as they are.
_SAFE_KEY = re.compile(r"[0-9A-Za-z_.-]{16,}")
_STORAGE_KEY = re.compile(r"[0-9A-Za-z_-]{32}")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):([0-9]{1,5})")


class Engine(StrEnum):
    """The kind of database."""

    MYSQL = "mysql"
    POSTGRESQL = "postgresql"


class LogProtocol(StrEnum):
    """How amphorae send their logs."""

    UDP = "UDP"
    TCP = "TCP"


class Controller(Part, frozen=True, kw_only=True):
    """A host that runs octavia-health-manager.

    Attributes:
        management_ip: its address on the management network.
    """

    name: Annotated[str, Meta(min_length=1)]
    management_ip: Address


class Database(Part, frozen=True, kw_only=True):
    """Octavia's database.

    Attributes:
        admin: makes database and account; without, another way has made them.
    """

    engine: Engine = Engine.MYSQL
    host: Annotated[str, Meta(min_length=1)]
    port: Port | None = None
    name: str = "octavia"
    user: str = "octavia"
    password: Annotated[str, Meta(min_length=1)]
    admin: DatabaseAdmin | None = None

    def __repr__(self) -> str:
        return f"Database(host={self.host!r})"


class Messaging(Part, frozen=True, kw_only=True):
    """RabbitMQ.

    Attributes:
        hosts: each with its port.
    """

    hosts: Annotated[tuple[str, ...], Meta(min_length=1)]
    user: str = "openstack"
    password: Annotated[str, Meta(min_length=1)]
    virtual_host: str = ""
    tls: bool = False

    def __repr__(self) -> str:
        return f"Messaging(hosts={self.hosts!r})"


class Keystone(Part, frozen=True, kw_only=True):
    """The identity service, and who Octavia is there."""

    auth_url: Url
    www_authenticate_uri: Url | None = None
    memcached: tuple[str, ...] = ()
    username: str = "octavia"
    password: Annotated[str, Meta(min_length=1)]
    project: str = "service"
    user_domain: str = "Default"
    project_domain: str = "Default"
    region: str | None = None
    cafile: str | None = None

    def __repr__(self) -> str:
        return f"Keystone(auth_url={self.auth_url!r})"


class Health(Part, frozen=True, kw_only=True):
    """Heartbeats."""

    heartbeat_key: str
    port: Port = 5555

    def __repr__(self) -> str:
        return f"Health(port={self.port})"


class CertificateSite(Part, frozen=True, kw_only=True):
    """The certificates of the control plane.

    Attributes:
        ca_passphrase: of the key that signs amphorae.
        storage_keys: 32 characters of URL-safe base64 each.
        key: algorithm and size of new keys.
        root_days, intermediate_days, controller_days: for how long new ones are valid.
    """

    directory: str = "/etc/octavia/certs"
    key: KeyKind = KeyKind.RSA_3072
    root_days: _Days = 7300
    intermediate_days: _Days = 3650
    controller_days: _Days = 1825
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")] | None = None
    organization: Name = "OpenStack"
    ca_passphrase: Annotated[str, Meta(min_length=1)]
    storage_keys: Annotated[tuple[str, ...], Meta(min_length=1)]

    def __repr__(self) -> str:
        return f"CertificateSite(directory={self.directory!r})"


class Logs(Part, frozen=True, kw_only=True):
    """Where amphorae send their logs, besides keeping them.

    Attributes:
        admin_targets, tenant_targets: address and port each; the first that answers is used.
        forward_all: all of the system's logs, not the amphora's programs alone.
        keep_local: also keep them in the amphora.
    """

    admin_targets: tuple[str, ...] = ()
    tenant_targets: tuple[str, ...] = ()
    protocol: LogProtocol = LogProtocol.UDP
    forward_all: bool = False
    keep_local: bool = True


class OctaviaSite(Part, frozen=True, kw_only=True):
    """Octavia's own files.

    Attributes:
        conf: octavia.conf.
        owner: `user:group` that the services run as; empty leaves files to who runs the command.
    """

    conf: str = "/etc/octavia/octavia.conf"
    owner: str = "octavia:octavia"


class Site(Part, frozen=True, kw_only=True):
    """The whole file.

    Attributes:
        name: tells what this site has made in a cloud from what others have.
        endpoints: the first controller's port 9876 by default.
        services, host: none where another way starts services, or makes the host's interface.
    """

    name: Annotated[str, Meta(pattern="^[0-9A-Za-z._-]{1,64}$")] = "octavia"
    controllers: Annotated[tuple[Controller, ...], Meta(min_length=1)]
    database: Database
    messaging: Messaging
    keystone: Keystone
    management: Management
    amphora: AmphoraSite = msgspec.field(default_factory=AmphoraSite)
    endpoints: Endpoints | None = None
    octavia: OctaviaSite = OctaviaSite()
    services: ServicesSite | None = None
    host: HostSite | None = None
    health: Health
    certificates: CertificateSite
    logs: Logs = Logs()

    def controller(self, name: str) -> Controller:
        """The controller of a name.

        Raises:
            ControllerError: there is none.
        """
        for controller in self.controllers:
            if controller.name == name:
                return controller
        names = ", ".join(controller.name for controller in self.controllers)
        raise ControllerError(f"the site has no controller {name}", f"it has {names}")


def load(path: Path) -> Site:
    """Read a site.

    Raises:
        ControllerError: the file cannot be read or is wrong; the first fault of each part is named
                with its place.
    """
    try:
        document = msgspec.yaml.decode(path.read_bytes())
    except OSError as exc:
        raise ControllerError(
            f"{path} cannot be read", f"{exc.strerror}; amphoractl site init writes one"
        ) from exc
    except msgspec.DecodeError as exc:
        raise ControllerError(f"{path} is not YAML", str(exc)) from exc
    try:
        site = msgspec.convert(document, Site, dec_hook=decode)
    except msgspec.ValidationError as exc:
        faults = list(_faults(document)) or [_placed(str(exc))]
        raise ControllerError(f"{path} is wrong", "\n  ".join(faults)) from exc
    if problems := list(_problems(site)):
        raise ControllerError(f"{path} is wrong", "\n  ".join(problems))
    return site


def new_secrets() -> dict[str, str]:
    """Fresh values for a new site, of letters, digits, `_` and `-`."""
    return {
        "heartbeat_key": secrets.token_urlsafe(24),
        "ca_passphrase": secrets.token_urlsafe(24),
        "storage_key": secrets.token_urlsafe(24),
    }


def _faults(document: object) -> Iterator[str]:
    """The first fault of each part: msgspec stops at the first one of the whole."""
    if not isinstance(document, dict):
        return
    for field in msgspec.structs.fields(Site):
        try:
            if field.name in document:
                msgspec.convert(document[field.name], field.type, dec_hook=decode)
            elif field.required:
                yield f"{field.name}: is missing"
        except msgspec.ValidationError as exc:
            yield _placed(str(exc), field.name)


def _placed(message: str, part: str = "") -> str:
    """msgspec's words, with the place first.

    Args:
        part: what was looked at; empty for the whole.
    """
    said, at, place = message.rpartition(" - at `$")
    path = f"{part}{place.rstrip('`')}" if at else part
    return f"{path.lstrip('.')}: {said if at else message}" if path else message


def _problems(site: Site) -> Iterator[str]:
    """What types alone do not say."""
    names = [controller.name for controller in site.controllers]
    addresses = [str(controller.management_ip) for controller in site.controllers]
    for kind, values in (("name", names), ("management_ip", addresses)):
        for value in sorted({value for value in values if values.count(value) > 1}):
            yield f"controllers: {kind} {value} stands there twice"
    if not _SAFE_KEY.fullmatch(site.health.heartbeat_key):
        yield (
            "health.heartbeat_key: at least 16 letters, digits, `_`, `.` and `-`; other characters "
            "do not reach amphorae as they are"
        )
    for index, key in enumerate(site.certificates.storage_keys):
        if not _STORAGE_KEY.fullmatch(key):
            yield (
                f"certificates.storage_keys[{index}]: exactly 32 characters of URL-safe base64 "
                "(letters, digits, `_` and `-`)"
            )
    certificates = site.certificates
    if not (
        certificates.root_days >= certificates.intermediate_days >= certificates.controller_days
    ):
        yield (
            "certificates: root_days >= intermediate_days >= controller_days: a certificate must "
            "not outlive the one that signed it"
        )
    yield from site_cloud.problems(site.management, site.amphora)
    yield from _log_problems(site.logs)
    for index, host in enumerate(site.messaging.hosts):
        if not _is_host_and_port(host):
            yield f"messaging.hosts[{index}]: {host!r} is not HOST:PORT"


def _log_problems(logs: Logs) -> Iterator[str]:
    for place, targets in (
        ("logs.admin_targets", logs.admin_targets),
        ("logs.tenant_targets", logs.tenant_targets),
    ):
        for index, target in enumerate(targets):
            host = target.rpartition(":")[0].strip("[]")
            if not _is_host_and_port(target) or not _is_address(host):
                yield f"{place}[{index}]: {target!r} is not ADDRESS:PORT"
    if logs.admin_targets and not logs.keep_local and not logs.forward_all:
        yield (
            "logs: with admin_targets, keep_local: false and forward_all: false Octavia renders a "
            "configuration that rsyslog refuses; set forward_all: true or keep_local: true"
        )


def _is_host_and_port(text: str) -> bool:
    match = _HOST_AND_PORT.fullmatch(text)
    return match is not None and 1 <= int(match[2]) <= 65535


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
