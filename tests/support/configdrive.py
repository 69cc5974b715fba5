# SPDX-License-Identifier: Apache-2.0
"""A config drive as Nova makes it for an amphora that Octavia boots.

ISO 9660 with Joliet and Rock Ridge, labelled `config-2`; injected files stand under numbered names
in openstack/content and are mapped to their paths by openstack/latest/meta_data.json.
"""

import base64
import json
import secrets
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path, PurePosixPath
from typing import Any

_ISO_DEADLINE_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class StaticPort:
    """A Neutron port on a subnet without DHCP and without gateway, as lb-mgmt-net is."""

    port_id: uuid.UUID
    network_id: uuid.UUID
    mac: str
    address: IPv4Interface | IPv6Interface
    mtu: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DhcpPort:
    """A Neutron port on an IPv4 subnet with DHCP."""

    port_id: uuid.UUID
    network_id: uuid.UUID
    mac: str
    mtu: int


Port = StaticPort | DhcpPort


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigDrive:
    """What one server is told at boot.

    Attributes:
        files: injected files by their path in the machine (Nova's "personality").
        public_keys: ssh public keys by key pair name.
        user_data: as given to Nova; there is no file for it when empty.
    """

    instance_id: uuid.UUID
    name: str
    ports: tuple[Port, ...]
    files: dict[PurePosixPath, bytes]
    public_keys: dict[str, str]
    user_data: str = ""

    @property
    def hostname(self) -> str:
        """Nova appends [api] dhcp_domain, whose default is novalocal."""
        return f"{self.name}.novalocal"


def tree(drive: ConfigDrive) -> dict[PurePosixPath, bytes]:
    """Content of every file on the drive, by its path there."""
    content = {
        PurePosixPath(f"openstack/content/{number:04d}"): data
        for number, data in enumerate(drive.files.values())
    }
    latest = PurePosixPath("openstack/latest")
    content[latest / "meta_data.json"] = _json(_meta_data(drive))
    content[latest / "network_data.json"] = _json(_network_data(drive.ports))
    if drive.user_data:
        content[latest / "user_data"] = drive.user_data.encode()
    return content


def write_iso(drive: ConfigDrive, path: Path) -> None:
    """Write the drive as an image file."""
    with tempfile.TemporaryDirectory() as directory:
        for name, data in tree(drive).items():
            target = Path(directory, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        subprocess.run(
            ["xorriso", "-as", "mkisofs", "-quiet", "-o", str(path),
             "-publisher", "OpenStack Compute", "-J", "-r", "-V", "config-2", directory],
            check=True, timeout=_ISO_DEADLINE_S, capture_output=True,
        )  # fmt: skip


def _meta_data(drive: ConfigDrive) -> dict[str, Any]:
    return {
        "uuid": str(drive.instance_id),
        "public_keys": drive.public_keys,
        "keys": [
            {"name": name, "type": "ssh", "data": key} for name, key in drive.public_keys.items()
        ],
        "hostname": drive.hostname,
        "name": drive.name,
        "launch_index": 0,
        "availability_zone": "nova",
        "random_seed": base64.b64encode(secrets.token_bytes(512)).decode(),
        "project_id": uuid.uuid4().hex,
        "devices": [],
        "dedicated_cpus": [],
        "files": [
            {"content_path": f"/content/{number:04d}", "path": str(path)}
            for number, path in enumerate(drive.files)
        ],
    }


def _network_data(ports: tuple[Port, ...]) -> dict[str, Any]:
    return {
        "links": [
            {
                "id": _link_id(port),
                "vif_id": str(port.port_id),
                "type": "ovs",
                "mtu": port.mtu,
                "ethernet_mac_address": port.mac,
            }
            for port in ports
        ],
        "networks": [
            {
                "id": f"network{number}",
                "link": _link_id(port),
                "network_id": str(port.network_id),
                **_addressing(port),
            }
            for number, port in enumerate(ports)
        ],
        "services": [],
    }


def _addressing(port: Port) -> dict[str, Any]:
    if isinstance(port, DhcpPort):
        return {"type": "ipv4_dhcp"}
    return {
        "type": f"ipv{port.address.version}",
        "ip_address": str(port.address.ip),
        "netmask": str(port.address.netmask),
        "routes": [],
    }


def _link_id(port: Port) -> str:
    """Name of the host's tap, of which Linux allows 15 - 1 characters."""
    return f"tap{port.port_id}"[:14]


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()
