# SPDX-License-Identifier: Apache-2.0
"""Plug NICs into the amphora's namespace."""

from dataclasses import replace

from amphora_agent import plan, render
from amphora_agent.errors import AgentError, Conflict, InvalidRequest, NotFound
from amphora_agent.layout import NETNS_UNIT, VIP_INTERFACE, dhcp_unit
from amphora_agent.models import Interface, IPAddress, Link, NetworkPlug, VipPlug
from amphora_agent.operations import announcements, interfaces, plugged
from amphora_agent.operations.context import Context
from amphora_agent.system import files


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
    with interfaces.held(context):
        remembered = plugged.vip_nic(context)
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
        announcements.vips(context)
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
    with interfaces.held(context):
        inside = _inside(context, plug.mac)
        remembered = plugged.vip_nic(context)
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
        fixed_ips = [fixed_ip.interface.ip for fixed_ip in plug.fixed_ips or ()]
        announcements.addresses(context, desired.name, fixed_ips)
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
    recorded = interfaces.recorded_names(context.settings.layout)
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
        outside = _locate(context, desired)
        stop_dhcp = not desired.automatic and _was_automatic(context, desired.name)
        # The file comes before the move: a broken-off move is completed from it.
        changed = _store(context, desired, request)
        if outside is not None:
            context.network.adopt(outside, desired.name)
        if stop_dhcp:
            context.services.stop(dhcp_unit(desired.name))
        changed |= interfaces.establish(context, desired)
        if desired.automatic:
            interfaces.await_lease(context, desired)
    except (NotFound, InvalidRequest):
        raise
    except AgentError as exc:
        raise AgentError(problem, str(exc)) from exc
    return changed or outside is not None


def _locate(context: Context, desired: Interface) -> Link | None:
    if not context.network.namespace_exists():
        context.services.start(NETNS_UNIT)
    try:
        return interfaces.locate(context, desired)
    except NotFound as exc:
        context.network.rescan()
        # The controller asks again exactly when it finds this phrase in the details.
        raise NotFound(exc.message, f"No suitable network interface found: {exc.details}") from exc


def _was_automatic(context: Context, name: str) -> bool:
    try:
        return interfaces.read(context.settings.layout, name).automatic
    except AgentError:
        return False


def _store(context: Context, desired: Interface, request: NetworkPlug) -> bool:
    layout = context.settings.layout
    changed = False
    path = layout.interface_file(desired.name)
    content = render.interface_json(desired, request)
    if not path.exists() or path.read_bytes() != content:
        files.make_directory(path.parent)
        files.write_atomic(path, content, mode=0o644)
        changed = True
    names = interfaces.recorded_names(context.settings.layout)
    # A NIC that was unplugged may have had the name before.
    updated = {mac: name for mac, name in names.items() if name != desired.name}
    updated[desired.mac] = desired.name
    former = names.get(desired.mac, desired.name)
    if former not in updated.values():
        files.remove(layout.interface_file(former))
    if updated != names:
        text = "".join(f"{mac} {name}\n" for mac, name in updated.items())
        files.write_atomic(layout.plugged_interfaces, text.encode(), mode=0o644)
        changed = True
    return changed
