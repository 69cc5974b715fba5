# SPDX-License-Identifier: Apache-2.0
"""Plug NICs into the amphora's namespace."""

import logging
from dataclasses import replace

from amphora_agent import plan, render, validate
from amphora_agent.errors import AgentError, Conflict, InvalidRequest, NotFound
from amphora_agent.layout import NETNS_UNIT, VIP_INTERFACE
from amphora_agent.models import Interface, IPAddress, Link, NetworkPlug, VipPlug
from amphora_agent.operations.context import Context
from amphora_agent.system import files

LOG = logging.getLogger(__name__)

_LOCK = "network"

# A plan is applied, the kernel is read again, and so on; two rounds are the usual, and a machine
# that is not there after this many will never be.
_ROUNDS = 5


def vip(context: Context, plug: VipPlug, *, repeated: bool = False) -> str:
    """Bring the NIC of a VIP to its desired state; returns what was done.

    When this returns, addresses and routes are there. It can be called again at any time: what a
    broken-off call left is completed, and addresses that `network` added stay.

    Args:
        repeated: the same request was still running when this one came, so that finding everything
            done is what was asked for.

    Raises:
        NotFound: the NIC is not there yet; the controller asks again.
        Conflict: the VIP is plugged already, just as asked for.
        AgentError: the kernel refused a step; what it said is in the details.
    """
    with context.locks.hold(_LOCK):
        remembered = _remembered(context)
        fixed_ips = remembered.fixed_ips if remembered and remembered.mac == plug.mac else None
        desired = plan.vip_interface(plug, context.settings.topology, fixed_ips or ())
        request = NetworkPlug(
            mac=plug.mac,
            fixed_ips=fixed_ips or (),
            mtu=plug.mtu,
            is_sriov=plug.is_sriov,
            vip=plug,
        )
        changed = _establish(context, desired, request, problem="Error plugging VIP")
    if not changed and not repeated:
        raise Conflict("Interface already exists", f"{plug.vips[0].address} is on {desired.name}")
    addresses = ", ".join(entry.address.exploded for entry in plug.vips)
    return f"VIPs plugged on interface {desired.name}: {addresses}"


def network(context: Context, plug: NetworkPlug) -> str:
    """Bring a NIC that leads to members to its desired state; returns what was done.

    The request names all addresses of the port: what is not among them is removed. On the VIP's
    NIC the VIPs stay, with the additional ones, which controllers leave out here.

    Raises:
        NotFound: the NIC is not there yet; the controller asks again.
        AgentError: the kernel refused a step; what it said is in the details.
    """
    with context.locks.hold(_LOCK):
        inside = _inside(context, plug.mac)
        remembered = _remembered(context)
        known_vip = remembered.vip if remembered and remembered.mac == plug.mac else None
        vip_plug = plan.with_remembered_vips(plug.vip, known_vip) if plug.vip else known_vip
        request = replace(plug, vip=vip_plug)
        if vip_plug is not None:
            problem = "Error plugging vip"
            topology = context.settings.topology
            vip_plug = replace(vip_plug, mtu=vip_plug.mtu or plug.mtu)
            desired = plan.vip_interface(vip_plug, topology, plug.fixed_ips or ())
        else:
            problem = "Error plugging network"
            desired = plan.network_interface(plug, _name(context, plug.mac, inside))
        _establish(context, desired, request, problem=problem)
    if inside is None:
        return f"Plugged on interface {desired.name}"
    return f"Updated existing interface {desired.name}"


def interface_of(context: Context, address: IPAddress) -> str:
    """Name of the interface that bears an address in the kernel at this moment.

    Raises:
        NotFound: none does, as on the standby of a pair.
    """
    name = None
    if context.network.namespace_exists():
        name = context.network.interface_with(address)
    if name is None:
        raise NotFound("Error interface not found for IP address", f"no interface has {address}")
    return name


def _remembered(context: Context) -> NetworkPlug | None:
    """What was plugged on the VIP's NIC."""
    path = context.settings.layout.interface_file(VIP_INTERFACE)
    try:
        return validate.interface_plug(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, InvalidRequest) as exc:
        LOG.warning("What was plugged before is not known: %s: %s", path, exc)
        return None


def _inside(context: Context, mac: str) -> Link | None:
    return context.network.inside(mac) if context.network.namespace_exists() else None


def _name(context: Context, mac: str, inside: Link | None) -> str:
    """The name of a NIC that leads to members: the one it has, or had, or the first free one."""
    if inside is not None:
        if inside.name == VIP_INTERFACE:
            path = context.settings.layout.interface_file(VIP_INTERFACE)
            raise AgentError(
                "Error plugging network",
                f"{mac} is the VIP's NIC, but {path} does not tell its VIPs: plug the VIP again",
            )
        return inside.name
    recorded = _recorded_names(context)
    taken = set(context.network.names() if context.network.namespace_exists() else ())
    # Other NICs that an earlier boot had in the namespace will come back under their names.
    taken |= {
        name
        for other, name in recorded.items()
        if other != mac and context.network.outside(other) is not None
    }
    own = recorded.get(mac, VIP_INTERFACE)
    return own if own not in taken | {VIP_INTERFACE} else plan.free_name(taken)


def _establish(context: Context, desired: Interface, request: NetworkPlug, *, problem: str) -> bool:
    """Bring a NIC in, keep its desired state and reach it; whether anything had to be done."""
    try:
        changed = _bring_in(context, desired, request)
        changed |= _store(context, desired, request)
        return _converge(context, desired) or changed
    except (NotFound, InvalidRequest):
        raise
    except AgentError as exc:
        raise AgentError(problem, str(exc)) from exc


def _bring_in(context: Context, desired: Interface, request: NetworkPlug) -> bool:
    """Have the NIC in the namespace under its name."""
    network = context.network
    if not network.namespace_exists():
        context.services.start(NETNS_UNIT)
    if network.inside(desired.mac) is not None:
        return False
    outside = network.outside(desired.mac)
    if outside is None:
        network.rescan()
        # The controller asks again exactly when it finds this phrase in the details.
        raise NotFound("NIC not found", "No suitable network interface found")
    if outside.in_use:
        raise InvalidRequest(
            "Interface is in use",
            f"{outside.name} with {desired.mac} has an address in the root namespace, as only the"
            " management interface does: the amphora would be cut off from its controllers",
        )
    # The file comes before the move: a broken-off move is completed from it.
    _store(context, desired, request)
    network.adopt(outside, desired.name)
    return True


def _store(context: Context, desired: Interface, request: NetworkPlug) -> bool:
    layout = context.settings.layout
    changed = False
    path = layout.interface_file(desired.name)
    content = render.interface_json(desired, request)
    if not path.exists() or path.read_bytes() != content:
        files.make_directory(path.parent)
        files.write_atomic(path, content, mode=0o644)
        changed = True
    names = _recorded_names(context)
    # A NIC that was unplugged may have had the name before.
    updated = {mac: name for mac, name in names.items() if name != desired.name}
    updated[desired.mac] = desired.name
    if updated != names:
        text = "".join(f"{mac} {name}\n" for mac, name in updated.items())
        files.write_atomic(layout.plugged_interfaces, text.encode(), mode=0o644)
        changed = True
    return changed


def _recorded_names(context: Context) -> dict[str, str]:
    """MAC address -> name in the namespace, of all NICs that were ever plugged."""
    try:
        text = context.settings.layout.plugged_interfaces.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    lines = (line.split() for line in text.splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}


def _converge(context: Context, desired: Interface) -> bool:
    changed = False
    for _ in range(_ROUNDS):
        steps = plan.interface(desired, context.network.live(desired.name))
        if not steps:
            return changed
        for step in steps:
            context.network.apply(desired.name, step)
        changed = True
    raise AgentError(
        f"{desired.name} does not reach its desired state",
        "; ".join(str(step) for step in steps),
    )
