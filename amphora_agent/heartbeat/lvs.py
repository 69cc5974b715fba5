# SPDX-License-Identifier: Apache-2.0
"""A UDP or SCTP listener as an observation: its configuration and what IPVS says of it."""

from collections.abc import Sequence

from amphora_agent.heartbeat.observation import Listener, Observation, Pool, Traffic
from amphora_agent.ipvs import Destination, Endpoint, Service
from amphora_agent.lvsconf import LvsConfig, Member

Table = Sequence[tuple[Service, Sequence[Destination]]]


def lvs_source(listener_id: str) -> str:
    """Name of one listener, as a source."""
    return f"lvs:{listener_id}"


def lvs_observation(
    listener_id: str,
    config: LvsConfig,
    table: Table | None,
    *,
    boot: str,
    is_restarting: bool,
    known: frozenset[str] = frozenset(),
) -> Observation:
    """A listener whose keepalived runs. It is listed whatever else is missing.

    IPVS has a service for each VIP, which counts from its creation; their sum is the listener's.
    The kernel gives a service no identity but its address, and its counters survive one death of
    keepalived and not another. So a service counts from zero after a boot or when a value has gone
    down; a new one that overtakes the old one within one period is taken for the old one, and
    traffic is lost rather than billed twice.

    Args:
        table: what IPVS balances; None when it could not be asked. Then the pool is called UP and
            its members RESTARTING, which changes no member's status at the controller.
        boot: identity of the running kernel.
        is_restarting: keepalived has not read the configuration yet.
        known: names of counters of this listener that were seen before.
    """
    own = [
        (service, destinations)
        for service, destinations in table or ()
        if (service.protocol, service.endpoint) in config.services
    ]
    weights = {item.endpoint: item.weight for _service, items in own for item in items}
    pools = {}
    if config.pool_id is not None:
        pools[config.pool_id] = Pool(
            pool_id=config.pool_id,
            listener_id=listener_id,
            status="DOWN" if _is_down(config, weights, is_known=table is not None) else "UP",
            members={
                member.id: _status(member, config, weights, is_restarting=is_restarting)
                if table is not None or member.endpoint is None
                else "RESTARTING"
                for member in config.members
            },
        )
    return Observation(
        source=lvs_source(listener_id),
        counters={
            f"{service.name} {boot}": {
                listener_id: Traffic(
                    bin=service.bytes_in, bout=service.bytes_out, stot=service.connections
                )
            }
            for service, _destinations in own
        },
        silent=known if table is None else frozenset(),
        listeners={
            listener_id: Listener(
                status="OPEN",
                connections=sum(item.active for _service, items in own for item in items),
            )
        },
        pools=pools,
    )


def _is_down(config: LvsConfig, weights: dict[Endpoint, int], *, is_known: bool) -> bool:
    return is_known and bool(config.members) and config.has_checker and not weights


def _status(
    member: Member, config: LvsConfig, weights: dict[Endpoint, int], *, is_restarting: bool
) -> str:
    """The word for a member: keepalived takes one that fails its checks out of IPVS."""
    if member.endpoint is None:
        return "MAINT"
    if member.endpoint not in weights:
        if not weights and not config.has_checker:
            return "no check"
        return "RESTARTING" if is_restarting else "DOWN"
    if weights[member.endpoint] == 0:
        return "DRAIN"
    return "UP" if config.has_checker else "no check"
