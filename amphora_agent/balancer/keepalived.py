# SPDX-License-Identifier: Apache-2.0
"""A document as the VRRP configuration of one amphora of a pair."""

from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.balancer import keepalived_conf
from amphora_agent.balancer.document import Amphora, Bfd, LoadBalancer, Role, Vip, VrrpGroup
from amphora_agent.balancer.parts import LVS_PROTOCOLS
from amphora_agent.balancer.values import Address
from amphora_agent.balancer.written import Written
from amphora_agent.errors import InvalidRequest
from amphora_agent.layout import POLICY_TABLE, Layout

# What Octavia gives to the two roles (octavia's constants.py).
_PRIORITIES = {Role.MASTER: 100, Role.BACKUP: 90}
# The highest of an amphora that does not own the address (RFC 5798, section 5.2.4).
_HIGHEST_PRIORITY = 254
_HOST_PREFIX_LENGTHS = {4: 32, 6: 128}
# keepalived counts in hundredths of a second with version 3 and in seconds with version 2.
_INTERVAL_STEPS_MS = {2: 1000, 3: 10}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Route:
    """A route that comes and goes with the VIP.

    Attributes:
        gateway: None where the destination is on the link.
        source: preferred source address, for those on the link.
    """

    destination: str
    gateway: Address | None = None
    source: Address | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Watch:
    """BFD with the other amphora.

    Attributes:
        rise: what is added to the priority of this amphora while the other one is not heard.
    """

    peer: Address
    interval_ms: int
    multiplier: int
    rise: int


def config(document: LoadBalancer, amphora_id: str, interface: str, layout: Layout) -> str:
    """The file for one of the amphorae.

    Args:
        interface: the VIP's NIC.

    Raises:
        InvalidRequest: the amphora is not one of the document's, the interval of advertisements
            is not one that the version has, or a value cannot stand in the file.
    """
    group = document.vrrp or VrrpGroup()
    this = _this(document, amphora_id)
    peers = [amphora for amphora in document.amphorae if amphora.id != this.id]
    watch = _watch(group.bfd, this, peers)
    return keepalived_conf.text(
        "keepalived.conf.j2",
        script=str(layout.check_script),
        group=group,
        tracks_haproxy=group.track_process and _runs_haproxy(document),
        watch=watch,
        instance=document.id.replace("-", ""),
        interface=interface,
        priority=_priority(this) + (watch.rise if watch else 0),
        advert_interval=_advert_interval(group),
        password=_password(group, this),
        address=this.vrrp_ip,
        peers=[peer.vrrp_ip for peer in peers],
        addresses=[vip.address for vip in document.vips if _is_advertised(vip, this)],
        excluded=[vip.address for vip in document.vips if not _is_advertised(vip, this)],
        routes=[route for vip in document.vips for route in _routes(vip)],
        rules=[_host(vip.address) for vip in document.vips],
        table=POLICY_TABLE,
    )


def _this(document: LoadBalancer, amphora_id: str) -> Amphora:
    for amphora in document.amphorae:
        if amphora.id == amphora_id:
            return amphora
    raise InvalidRequest(
        "Invalid document", f"amphorae: this one, {amphora_id}, is not one of them; add it"
    )


def _advert_interval(group: VrrpGroup) -> Written:
    step_ms = _INTERVAL_STEPS_MS[group.version]
    if group.advert_interval_ms % step_ms:
        raise InvalidRequest(
            "Invalid document",
            f"vrrp.advert_interval_ms: {group.advert_interval_ms} is not a multiple of {step_ms}, "
            f"as VRRP version {group.version} needs it",
        )
    return keepalived_conf.seconds(group.advert_interval_ms)


def _priority(amphora: Amphora) -> int:
    return _PRIORITIES[amphora.role] if amphora.priority is None else amphora.priority


def _password(group: VrrpGroup, this: Amphora) -> str | None:
    """The password where VRRP has one: not in version 3, which keepalived speaks over IPv6."""
    if group.version == 2 and this.vrrp_ip.version == 4:
        return group.authentication
    return None


def _is_advertised(vip: Vip, this: Amphora) -> bool:
    """Whether advertisements can tell of a VIP: they have addresses of one family only."""
    return vip.address.version == this.vrrp_ip.version


def _runs_haproxy(document: LoadBalancer) -> bool:
    return document.enabled and any(
        listener.enabled and listener.protocol not in LVS_PROTOCOLS
        for listener in document.listeners
    )


def _watch(bfd: Bfd | None, this: Amphora, peers: list[Amphora]) -> _Watch | None:
    """BFD with the other amphora, if there is one and only one.

    keepalived cannot make a backup the master because BFD says so. But an amphora of a high
    priority waits less after the last advertisement. So both have more of it until they hear each
    other, and again when they do not; it is as much as leaves the higher one below the limit, and
    the same for both, so that their order stays.
    """
    if bfd is None or len(peers) != 1:
        return None
    [peer] = peers
    return _Watch(
        peer=peer.vrrp_ip,
        interval_ms=bfd.interval_ms,
        multiplier=bfd.multiplier,
        rise=_HIGHEST_PRIORITY - max(_priority(this), _priority(peer)),
    )


def _routes(vip: Vip) -> Iterator[_Route]:
    yield _Route(destination=vip.subnet, source=vip.address)
    if vip.gateway is not None:
        yield _Route(destination="default", gateway=vip.gateway)
    for route in vip.host_routes:
        yield _Route(destination=route.destination, gateway=route.nexthop)


def _host(address: Address) -> str:
    return f"{address}/{_HOST_PREFIX_LENGTHS[address.version]}"
