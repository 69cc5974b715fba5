# SPDX-License-Identifier: Apache-2.0
"""Interfaces of the namespace: from their files to the kernel, at any time and any number of times.

A file per interface says what it should be like, and one file says which NIC bears which name.
They are written by `operations.plug`; whoever calls here gets the machine to what they say.
"""

import contextlib
import logging
import time
from collections.abc import Iterator

from amphora_agent import nft, plan, validate
from amphora_agent.errors import AgentError, InvalidRequest, NotFound
from amphora_agent.layout import Layout, dhcp_unit
from amphora_agent.models import Interface, InterfaceType, Link
from amphora_agent.operations import announcements, firewall
from amphora_agent.operations.context import Context
from amphora_agent.system import files, locks

LOG = logging.getLogger(__name__)

# A plan is applied, the kernel is read again, and so on; two rounds are the usual, and a machine
# that is not there after this many will never be.
_ROUNDS = 5

_POLL_S = 0.05
# One quiet moment may be the pause between two devices.
_QUIET_POLLS = 10
# A DHCP server answers at once or not at all; the client goes on asking in the background.
_LEASE_TIMEOUT_S = 10.0


@contextlib.contextmanager
def held(context: Context) -> Iterator[None]:
    """Hold the network against other requests and against `amphora-interface`."""
    directory = context.settings.agent_server_network_dir
    with context.locks.hold("network"):
        files.make_directory(directory)
        with locks.exclusive(directory):
            yield


def recorded_names(layout: Layout) -> dict[str, str]:
    """MAC address -> name in the namespace, of all NICs that were ever plugged."""
    try:
        text = layout.plugged_interfaces.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    lines = (line.split() for line in text.splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}


def read(layout: Layout, name: str) -> Interface:
    """What an interface should be like.

    Raises:
        NotFound: nothing was plugged under that name.
        InvalidRequest: its file is broken.
    """
    path = layout.interface_file(name)
    try:
        return validate.interface_file(path.read_bytes())
    except FileNotFoundError as exc:
        raise NotFound(f"There is no interface {name}", f"{path} is missing") from exc
    except InvalidRequest as exc:
        raise InvalidRequest(
            f"{path} is broken", f"{exc.details}; plugging the NIC again writes it anew"
        ) from exc


def establish(context: Context, desired: Interface) -> bool:
    """Bring an interface in the namespace to its state, with what nftables does for it.

    Returns whether anything was to be done to the interface itself.

    Raises:
        AgentError: the kernel or nft refused a step, or the state is not reached.
    """
    if desired.is_sriov and desired.type is InterfaceType.VIP:
        # Before it is up: nobody else guards it.
        firewall.load(context)
    changed = converge(context, desired)
    versions = nft.ip_versions(desired)
    if versions:
        firewall.masquerade(context, desired.name, versions, sriov=desired.is_sriov)
    return changed


def converge(context: Context, desired: Interface) -> bool:
    """Bring an interface that is in the namespace to its state; whether anything was to be done.

    Raises:
        AgentError: the kernel refused a step, or the state is not reached.
    """
    network = context.network
    changed = False
    for _ in range(_ROUNDS):
        steps = plan.interface(desired, network.live(desired.name))
        if not steps:
            return changed
        for step in steps:
            network.apply(desired.name, step)
        changed = True
    raise AgentError(
        f"{desired.name} does not reach its desired state",
        "; ".join(str(step) for step in steps),
    )


def locate(context: Context, desired: Interface) -> Link | None:
    """The NIC of an interface that is to be adopted; None if it is in the namespace already.

    Raises:
        NotFound: it is not on this machine.
        InvalidRequest: it has another name there, or it is the NIC of the management network.
        AgentError: another NIC has the name.
    """
    network = context.network
    inside = network.inside(desired.mac)
    if inside is not None:
        if inside.name != desired.name:
            raise InvalidRequest(
                "NIC is plugged already", f"{desired.mac} is {inside.name}, not {desired.name}"
            )
        return None
    outside = network.outside(desired.mac)
    if outside is None:
        raise NotFound("NIC not found", f"no NIC has {desired.mac}")
    if outside.in_use:
        raise InvalidRequest(
            "Interface is in use",
            f"{outside.name} with {desired.mac} has an address in the root namespace, as only the"
            " management interface does: the amphora would be cut off from its controllers",
        )
    if desired.name in network.names():
        raise AgentError(
            f"Another NIC is {desired.name}", f"detach it before {desired.mac} takes its place"
        )
    return outside


def await_lease(context: Context, desired: Interface) -> None:
    """Run a DHCP client on an interface and give its first lease some seconds to come.

    A network without DHCP is no error: its addresses may come by router advertisements, or later.

    Raises:
        AgentError: the client did not start.
    """
    context.services.start(dhcp_unit(desired.name))
    own = {entry.interface for entry in desired.addresses}
    deadline = time.monotonic() + _LEASE_TIMEOUT_S
    while time.monotonic() < deadline:
        if set(context.network.addresses(desired.name)) - own:
            return
        time.sleep(_POLL_S)
    LOG.warning("No address came to %s within %g s", desired.name, _LEASE_TIMEOUT_S)


def up(context: Context, name: str) -> bool:
    """Bring one interface to what its file says; whether anything was to be done.

    Nobody waits for a DHCP lease here: at boot its client starts after the namespace is up.

    Raises:
        NotFound: nothing was plugged under that name, or the NIC is gone.
        AgentError: the kernel refused a step.
    """
    with held(context):
        desired = read(context.settings.layout, name)
        outside = locate(context, desired)
        if outside is not None:
            context.network.adopt(outside, name)
        changed = establish(context, desired)
        if desired.automatic:
            context.services.request(dhcp_unit(name))
        own = [entry.interface.ip for entry in desired.addresses if entry.owned]
        announcements.addresses(context, name, own)
    return changed or outside is not None


def down(context: Context, name: str) -> bool:
    """Take one interface out of use; its file stays. Whether anything was to be done.

    Raises:
        NotFound: nothing was plugged under that name, or the NIC is gone.
        AgentError: the kernel refused a step.
    """
    with held(context):
        desired = read(context.settings.layout, name)
        network = context.network
        if not network.namespace_exists() or name not in network.names():
            raise NotFound(f"Interface {name} is not there", "its NIC was unplugged, or is not up")
        if desired.automatic:
            context.services.stop(dhcp_unit(name))
        if versions := nft.ip_versions(desired):
            firewall.unmasquerade(context, name, versions)
        changed = False
        for _ in range(_ROUNDS):
            steps = plan.down(desired, network.live(name))
            if not steps:
                break
            for step in steps:
                network.apply(name, step)
            changed = True
    return changed


def names(layout: Layout) -> list[str]:
    """Names that NICs were plugged under and that have a file, in order."""
    return sorted(
        name for name in recorded_names(layout).values() if layout.interface_file(name).exists()
    )


def wait_for_nics(context: Context, *, timeout_s: float) -> None:
    """At boot, wait until every NIC is there that was plugged before, or cannot be expected.

    A NIC that was unplugged while the machine was off never comes: once the machine has nothing
    to do with new devices any more, nobody waits for it.
    """
    network = context.network
    deadline = time.monotonic() + timeout_s
    macs = set(recorded_names(context.settings.layout))
    quiet = 0
    while time.monotonic() < deadline and quiet < _QUIET_POLLS:
        macs = {mac for mac in macs if network.outside(mac) is None and network.inside(mac) is None}
        if not macs:
            return
        quiet = quiet + 1 if network.settled() else 0
        time.sleep(_POLL_S)
    LOG.warning("NICs that were plugged are missing: %s", ", ".join(sorted(macs)))
