# SPDX-License-Identifier: Apache-2.0
"""What the site says of the hosts that Octavia runs on: their interface, database, services."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from amphora_controller.site_part import Part, Port

# What every program that gets such a name takes as one word; the kernel's limit is 15.
_Device = Annotated[str, Meta(pattern=r"^[A-Za-z][0-9A-Za-z_-]{0,14}$")]
_Text = Annotated[str, Meta(min_length=1)]


class Plug(StrEnum):
    """What connects virtual machines on this host, and so the health manager's interface."""

    OVS = "ovs"
    LINUXBRIDGE = "linuxbridge"
    OVN = "ovn"


class HostSite(Part, frozen=True, kw_only=True):
    """The controllers' own interface on the management network.

    Attributes:
        interface: its name.
        bridge: where it is plugged; br-int, or the Linux bridge of the management network.
        mtu: bytes; that of the management network by default.
        ovs_database: as `ovs-vsctl --db` takes it; by default that of the host's own Open vSwitch.
    """

    interface: _Device = "o-hm0"
    plug: Plug = Plug.OVS
    bridge: _Device | None = None
    # Below 1280 there is no IPv6.
    mtu: Annotated[int, Meta(ge=1280, le=65535)] | None = None
    ovs_database: Annotated[str, Meta(pattern=r"^(unix|tcp|ssl):[0-9A-Za-z./:_\[\]-]+$")] | None = (
        None
    )


class DatabaseAdmin(Part, frozen=True, kw_only=True):
    """Who may make databases and accounts.

    Attributes:
        host, port: those of Octavia's database by default.
        user: root (MySQL) or postgres by default.
        socket: path of MySQL's socket, or PostgreSQL's directory of sockets; instead of host. The
            server then knows the user from the operating system, and a password is not needed.
    """

    host: _Text | None = None
    port: Port | None = None
    user: _Text | None = None
    password: str = ""
    socket: _Text | None = None

    def __repr__(self) -> str:
        return f"DatabaseAdmin(user={self.user!r})"


class ServicesSite(Part, frozen=True, kw_only=True):
    """Octavia's programs on a controller.

    Attributes:
        db_manage: name or path of octavia-db-manage.
        units: systemd's names, in the order in which they are started.
    """

    db_manage: _Text = "octavia-db-manage"
    units: Annotated[tuple[_Text, ...], Meta(min_length=1)] = (
        "octavia-api",
        "octavia-worker",
        "octavia-health-manager",
        "octavia-housekeeping",
    )
