# SPDX-License-Identifier: Apache-2.0
"""What octavia.conf tells of the way to amphorae and back, with Octavia's own defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from amphora_controller.doctor.conf_file import ConfFile
from amphora_controller.errors import ControllerError

Address = IPv4Address | IPv6Address

API_PORT = 9443

_ACCOUNT = (
    *("auth_url", "username", "user_id", "password", "project_name", "project_id"),
    *("user_domain_name", "user_domain_id", "project_domain_name", "project_domain_id"),
)


@dataclass(frozen=True, order=True, slots=True)
class Endpoint:
    """Where heartbeats go."""

    address: Address
    port: int

    def __str__(self) -> str:
        shown = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{shown}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """Paths in octavia.conf, named as amphora_controller.certificates.check wants them."""

    server_certificate: Path
    server_key: Path
    server_chain: Path
    client_chain: Path
    client_bundle: Path

    @property
    def services(self) -> tuple[Path, ...]:
        """All of them."""
        return (
            self.server_certificate,
            self.server_key,
            self.server_chain,
            self.client_chain,
            self.client_bundle,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Who Octavia is in the cloud ([service_auth]), and where it finds the services.

    Attributes:
        auth: as keystoneauth's passwords plug-in wants it; empty where it is not set.
        interface: of the catalogue: public, internal or admin.
        cafile: empty for the system's authorities.
    """

    auth: Mapping[str, str] = field(repr=False)
    region: str
    interface: str
    cafile: str
    is_verified: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options that are looked at.

    Attributes:
        bind: where this controller's health manager listens.
        controllers: the entries of controller_ip_port_list, as they stand there.
        interval_s, timeout_s: of heartbeats, and after which an amphora is replaced.
        written_key: the heartbeat key as it stands in the file, with its `$$`.
        image_owner, ssh_key: empty when not set.
    """

    bind: Endpoint
    heartbeat_key: str | None = field(repr=False)
    written_key: str | None = field(repr=False)
    controllers: tuple[str, ...]
    interval_s: int
    timeout_s: int
    api_port: int
    files: Files
    ca_passphrase: str | None = field(repr=False)
    networks: tuple[str, ...]
    security_groups: tuple[str, ...]
    flavor: str
    image_tag: str
    image_owner: str
    ssh_key: str
    account: Account

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Those controllers that can be read, in their order."""
        found = (endpoint(entry) for entry in self.controllers)
        return tuple(item for item in found if item is not None)


def endpoint(entry: str) -> Endpoint | None:
    """An entry of controller_ip_port_list: `ip:port`, `[ipv6]:port` or `ipv6:port`; else None."""
    host, _, port = entry.rpartition(":")
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        return None
    try:
        return Endpoint(ip_address(host.removeprefix("[").removesuffix("]")), int(port))
    except ValueError:
        return None


def read(conf: ConfFile) -> Options:
    """The options of a file.

    Raises:
        ControllerError: one of them has a value that Octavia refuses.
    """
    return Options(
        bind=_bind(conf),
        heartbeat_key=conf.text("health_manager", "heartbeat_key"),
        written_key=conf.written("health_manager", "heartbeat_key"),
        controllers=conf.items("health_manager", "controller_ip_port_list"),
        interval_s=conf.number("health_manager", "heartbeat_interval", 10),
        timeout_s=conf.number("health_manager", "heartbeat_timeout", 60),
        api_port=conf.number("haproxy_amphora", "bind_port", API_PORT),
        files=Files(
            server_certificate=_path(
                conf, "certificates", "ca_certificate", "/etc/ssl/certs/ssl-cert-snakeoil.pem"
            ),
            server_key=_path(
                conf, "certificates", "ca_private_key", "/etc/ssl/private/ssl-cert-snakeoil.key"
            ),
            server_chain=_path(
                conf, "haproxy_amphora", "server_ca", "/etc/octavia/certs/server_ca.pem"
            ),
            client_chain=_path(
                conf, "controller_worker", "client_ca", "/etc/octavia/certs/ca_01.pem"
            ),
            client_bundle=_path(
                conf, "haproxy_amphora", "client_cert", "/etc/octavia/certs/client.pem"
            ),
        ),
        ca_passphrase=conf.text("certificates", "ca_private_key_passphrase"),
        networks=conf.items("controller_worker", "amp_boot_network_list"),
        security_groups=conf.items("controller_worker", "amp_secgroup_list"),
        flavor=conf.text("controller_worker", "amp_flavor_id") or "",
        image_tag=conf.text("controller_worker", "amp_image_tag") or "",
        image_owner=conf.text("controller_worker", "amp_image_owner_id") or "",
        ssh_key=conf.text("controller_worker", "amp_ssh_key_name") or "",
        account=_account(conf),
    )


def _account(conf: ConfFile) -> Account:
    auth = {
        name: value
        for name in _ACCOUNT
        if (value := conf.text("service_auth", name)) and conf.text("service_auth", "auth_url")
    }
    endpoint_type = conf.text("neutron", "endpoint_type") or "publicURL"
    regions = (conf.text(section, "region_name") for section in ("neutron", "nova", "service_auth"))
    return Account(
        auth=auth,
        region=next((region for region in regions if region), ""),
        interface=endpoint_type.removesuffix("URL"),
        cafile=conf.text("service_auth", "cafile") or "",
        is_verified=not conf.flag("service_auth", "insecure"),
    )


def _bind(conf: ConfFile) -> Endpoint:
    text = conf.text("health_manager", "bind_ip")
    try:
        address = ip_address("127.0.0.1" if text is None else text)
    except ValueError as exc:
        raise ControllerError(
            f"[health_manager] bind_ip is {text!r}, not an address",
            "it is this controller's address on the management network",
        ) from exc
    return Endpoint(address, conf.number("health_manager", "bind_port", 5555))


def _path(conf: ConfFile, section: str, key: str, default: str) -> Path:
    return Path(conf.text(section, key) or default)
