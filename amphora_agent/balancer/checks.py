# SPDX-License-Identifier: Apache-2.0
"""From bytes to a document of which everything holds that can be told from it alone.

What types alone say is in `document`; here is what one part asks of another. All faults of this
kind are told at once, each with its place.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from amphora_agent.balancer import listener_checks, pool_checks, values
from amphora_agent.balancer.document import Amphora, Certificate, LoadBalancer, Vip, VrrpGroup
from amphora_agent.balancer.faults import Fault, at
from amphora_agent.balancer.listener import Listener
from amphora_agent.balancer.parts import Protocol
from amphora_agent.balancer.pool import Pool
from amphora_agent.balancer.values import ObjectId
from amphora_agent.errors import InvalidRequest
from amphora_agent.topology import Topology


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A fault of a document.

    Attributes:
        path: where, for example `listeners[2].tls.client_ca`; empty for the whole document.
        reason: what is wrong, and what would be right.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class InvalidDocument(InvalidRequest):
    """A document is wrong.

    Attributes:
        problems: every fault that was found; at least one.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("Invalid document", "\n".join(map(str, problems)))
        self.problems = problems


def decode(data: bytes) -> LoadBalancer:
    """Read a document.

    Args:
        data: JSON.

    Raises:
        InvalidDocument: it is not JSON, a part has not the type that it should have (the first such
            part is told), or parts contradict each other (all such are told).
    """
    try:
        document = msgspec.json.decode(data, type=LoadBalancer, dec_hook=values.decode)
    except msgspec.ValidationError as exc:
        raise InvalidDocument((_placed(str(exc)),)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidDocument((Problem(path="", reason=f"it is not JSON: {exc}"),)) from exc
    except RecursionError as exc:
        raise InvalidDocument((Problem(path="", reason="it is nested too deeply"),)) from exc
    check(document)
    return document


def check(document: LoadBalancer) -> None:
    """See that the parts of a document fit together.

    Raises:
        InvalidDocument: see decode.
    """
    problems = tuple(Problem(path=path, reason=reason) for path, reason in _faults(document))
    if problems:
        raise InvalidDocument(problems)


def _placed(message: str) -> Problem:
    """msgspec's words, with the place apart."""
    reason, _, place = message.rpartition(" - at `$")
    if not reason:
        return Problem(path="", reason=message)
    return Problem(path=place.rstrip("`").lstrip("."), reason=reason)


def _faults(document: LoadBalancer) -> Iterator[Fault]:
    yield from _ids(document)
    yield from _vips(document)
    yield from _pair(document)
    yield from _certificates(document.certificates)
    yield from _ports(document.listeners)
    names = frozenset(certificate.name for certificate in document.certificates)
    families = {vip.address.version for vip in document.vips}
    pools = {pool.id: pool for pool in document.pools}
    for index, listener in enumerate(document.listeners):
        place = f"listeners[{index}]"
        yield from at(place, listener_checks.faults(listener, names, families))
        yield from at(place, _pools_of(listener, pools))
    served = _protocols(document.listeners)
    for index, pool in enumerate(document.pools):
        yield from at(f"pools[{index}]", pool_checks.faults(pool, names, served[pool.id]))


def _ids(document: LoadBalancer) -> Iterator[Fault]:
    """Whatever has an id is alone with it: ids are names in haproxy, and heartbeats go by them."""
    places: dict[ObjectId, str] = {}
    for place, object_id in _all_ids(document):
        if object_id in places:
            yield f"{place}.id", f"{object_id} is the id of {places[object_id]} too"
        places.setdefault(object_id, place)


def _all_ids(document: LoadBalancer) -> Iterator[tuple[str, ObjectId]]:
    for number, listener in enumerate(document.listeners):
        place = f"listeners[{number}]"
        yield place, listener.id
        for position, policy in enumerate(listener.policies):
            inside = f"{place}.policies[{position}]"
            yield inside, policy.id
            yield from ((f"{inside}.rules[{at}]", rule.id) for at, rule in enumerate(policy.rules))
    for number, pool in enumerate(document.pools):
        place = f"pools[{number}]"
        yield place, pool.id
        yield from (
            (f"{place}.members[{position}]", member.id)
            for position, member in enumerate(pool.members)
        )


def _vips(document: LoadBalancer) -> Iterator[Fault]:
    named = [("vip", document.vip)]
    named += [
        (f"additional_vips[{number}]", vip) for number, vip in enumerate(document.additional_vips)
    ]
    addresses = Counter(vip.address for _, vip in named)
    for place, vip in named:
        yield from at(place, _vip(vip))
        if place != "vip" and addresses[vip.address] > 1:
            yield f"{place}.address", f"{vip.address} is a VIP already"


def _vip(vip: Vip) -> Iterator[Fault]:
    if not vip.subnet.holds(vip.address):
        yield "address", f"{vip.address} is not in {vip.subnet}"
    if vip.gateway is not None and vip.gateway.version != vip.address.version:
        yield "gateway", f"{vip.gateway} is of another family than {vip.address}"
    for number, route in enumerate(vip.host_routes):
        place = f"host_routes[{number}]"
        if route.destination.version != vip.address.version:
            yield f"{place}.destination", f"{route.destination} is of another family than the VIP"
        if route.nexthop.version != route.destination.version:
            yield f"{place}.nexthop", f"{route.nexthop} is of another family than the destination"


def _pair(document: LoadBalancer) -> Iterator[Fault]:
    amphorae = document.amphorae
    if document.topology is Topology.SINGLE:
        if document.vrrp is not None:
            yield "vrrp", "only for topology ACTIVE_STANDBY"
        if len(amphorae) > 1:
            yield "amphorae", f"topology SINGLE has one amphora, not {len(amphorae)}"
        return
    if document.vrrp is None:
        yield "vrrp", "topology ACTIVE_STANDBY needs it"
    if not 1 <= len(amphorae) <= 2:
        yield (
            "amphorae",
            "topology ACTIVE_STANDBY has two (one while the other is rebuilt), not "
            f"{len(amphorae)}",
        )
    yield from _distinct(amphorae)
    for number, amphora in enumerate(amphorae):
        if amphora.vrrp_ip.version != document.vip.address.version:
            yield f"amphorae[{number}].vrrp_ip", "of another family than the VIP"
    if document.vrrp is not None:
        yield from at("vrrp", _vrrp(document.vrrp))


def _distinct(amphorae: Iterable[Amphora]) -> Iterator[Fault]:
    seen: dict[str, set[str]] = {"id": set(), "vrrp_ip": set(), "role": set()}
    for number, amphora in enumerate(amphorae):
        for field, value in (
            ("id", amphora.id),
            ("vrrp_ip", amphora.vrrp_ip),
            ("role", amphora.role),
        ):
            if value in seen[field]:
                yield f"amphorae[{number}].{field}", f"{value} is the other amphora's"
            seen[field].add(value)


def _vrrp(group: VrrpGroup) -> Iterator[Fault]:
    if group.version == 2 and group.advert_interval_ms % 1000:
        yield "advert_interval_ms", "VRRP version 2 counts whole seconds; use version 3"
    if group.version == 3 and group.advert_interval_ms % 10:
        yield "advert_interval_ms", "VRRP version 3 counts hundredths of a second"
    if group.version == 3 and group.authentication is not None:
        yield "authentication", "VRRP version 3 has none"


def _certificates(certificates: Iterable[Certificate]) -> Iterator[Fault]:
    names: set[str] = set()
    for number, certificate in enumerate(certificates):
        place = f"certificates[{number}]"
        if certificate.name in names:
            yield f"{place}.name", f"{certificate.name} stands there twice"
        names.add(certificate.name)
        if certificate.pem is None and certificate.sha256 is None:
            yield place, "it needs a pem, or the sha256 of one that the amphora has"
        if certificate.pem is not None and "-----BEGIN " not in certificate.pem:
            yield f"{place}.pem", "it is not in PEM format"


def _ports(listeners: Iterable[Listener]) -> Iterator[Fault]:
    """UDP, SCTP and the rest, which is TCP, have ports of their own."""
    taken: dict[tuple[str, int], int] = {}
    for number, listener in enumerate(listeners):
        transport = "TCP"
        if listener.protocol in (Protocol.UDP, Protocol.SCTP):
            transport = listener.protocol
        key = transport, listener.port
        if key in taken:
            yield (
                f"listeners[{number}].port",
                f"{transport} port {listener.port} is that of listeners[{taken[key]}]",
            )
        taken.setdefault(key, number)


def _pools_of(listener: Listener, pools: dict[ObjectId, Pool]) -> Iterator[Fault]:
    if listener.default_pool is not None:
        yield from _pool_of(listener, "default_pool", listener.default_pool, pools)
    for number, policy in enumerate(listener.policies):
        if policy.redirect_pool is not None:
            place = f"policies[{number}].redirect_pool"
            yield from _pool_of(listener, place, policy.redirect_pool, pools)


def _pool_of(
    listener: Listener, place: str, pool_id: ObjectId, pools: dict[ObjectId, Pool]
) -> Iterator[Fault]:
    pool = pools.get(pool_id)
    if pool is None:
        yield place, f"there is no pool {pool_id}"
        return
    takes = listener_checks.POOL_PROTOCOLS[listener.protocol]
    if pool.protocol not in takes:
        yield (
            place,
            f"a listener of protocol {listener.protocol} takes pools of protocol "
            f"{' or '.join(takes) or 'no'}, not {pool.protocol}",
        )


def _protocols(listeners: Iterable[Listener]) -> dict[ObjectId, set[Protocol]]:
    """By pool, the protocols of the listeners that use it."""
    found: dict[ObjectId, set[Protocol]] = defaultdict(set)
    for listener in listeners:
        for pool_id in listener.pool_ids:
            found[pool_id].add(listener.protocol)
    return found
