# SPDX-License-Identifier: Apache-2.0
"""Network data as configuration of systemd-networkd, in the format of systemd.network(5).

Every NIC is matched by its MAC address and keeps the name that the kernel gave it, so that no
.link files are needed. A NIC without a file here stays unmanaged: those that are hot-plugged
later belong to the amphora's namespace.
"""

from collections.abc import Collection, Iterator

from amphora_agent.configdrive.network import Method, NetworkData, Nic
from amphora_agent.models import IPAddress, Route

# Every file of ours, and nothing else, is called like this.
FILE_PATTERN = "10-amphora-*.network"

_HEADER = "# From the config drive's network data; amphora-provision writes this at every boot.\n"


def network_files(data: NetworkData, namespace_macs: Collection[str] = ()) -> dict[str, str]:
    """File name -> text, one for every NIC.

    Args:
        namespace_macs: NICs to leave out because they live in the amphora's namespace. A drive
            that Nova makes anew (evacuation) lists the NICs hot-plugged since as well.
    """
    files = {}
    for index, nic in enumerate(data.nics):
        if nic.mac in namespace_macs:
            continue
        name = FILE_PATTERN.replace("*", nic.mac.replace(":", ""))
        files[name] = _text(nic, index, data.dns if index == 0 else ())
    return files


def _text(nic: Nic, index: int, dns: tuple[IPAddress, ...]) -> str:
    # Among routes to the same destination, that of the management port wins: it comes first.
    metric = 100 * (index + 1)
    sections = [
        ("Match", [f"MACAddress={nic.mac}"]),
        ("Link", list(_link(nic, is_management=index == 0))),
        ("Network", list(_network(nic, dns))),
        *(
            ("Address", [f"Address={network.address}"])
            for network in nic.networks
            if network.address
        ),
        *(("Route", list(_route(route, nic, metric))) for route in _routes(nic)),
        *_automatic(nic, metric),
    ]
    parts = ["\n".join([f"[{name}]", *lines, ""]) for name, lines in sections]
    return "\n".join([_HEADER, *parts]).replace("\n\n\n", "\n\n")


def _link(nic: Nic, *, is_management: bool) -> Iterator[str]:
    if nic.mtu is not None:
        yield f"MTUBytes={nic.mtu}"
    # The boot waits for the port through which the controller comes, and for no other.
    yield f"RequiredForOnline={'routable' if is_management else 'no'}"


def _network(nic: Nic, dns: tuple[IPAddress, ...]) -> Iterator[str]:
    methods = _methods(nic)
    dhcp = {
        (False, False): "no",
        (True, False): "ipv4",
        (False, True): "ipv6",
        (True, True): "yes",
    }[Method.DHCP4 in methods, Method.DHCP6 in methods]
    static6 = any(network.address and network.address.version == 6 for network in nic.networks)
    yield f"DHCP={dhcp}"
    yield f"LinkLocalAddressing={'ipv6' if static6 or _takes_advertisements(nic) else 'no'}"
    yield f"IPv6AcceptRA={_yes(_takes_advertisements(nic))}"
    # A leased address outlives the lease, and every address outlives a short loss of carrier (a
    # live migration, a restart of the virtual switch): the controller knows no other address.
    yield f"KeepConfiguration={'no' if dhcp == 'no' else 'dhcp'}"
    yield "IgnoreCarrierLoss=yes"
    # systemd-resolved, where an image has it, takes these; nothing else needs names.
    servers = [*dns, *(server for network in nic.networks for server in network.dns)]
    yield from (f"DNS={server}" for server in dict.fromkeys(servers))


def _routes(nic: Nic) -> Iterator[Route]:
    """The routes to add; of an automatic network the router announces the default one itself."""
    for network in nic.networks:
        for route in network.routes:
            if network.method is Method.STATIC or route.destination.prefixlen > 0:
                yield route


def _route(route: Route, nic: Nic, metric: int) -> Iterator[str]:
    yield f"Destination={route.destination}"
    if route.gateway is None:
        yield from ["Scope=link"] if route.destination.version == 4 else []
    else:
        yield f"Gateway={route.gateway}"
        if not _is_on_link(route.gateway, nic):
            yield "GatewayOnLink=yes"
    yield f"Metric={metric}"


def _is_on_link(gateway: IPAddress, nic: Nic) -> bool:
    addresses = (network.address for network in nic.networks)
    return any(address and gateway in address.network for address in addresses)


def _automatic(nic: Nic, metric: int) -> Iterator[tuple[str, list[str]]]:
    """What DHCP and router advertisements may change: addresses, routes, an unknown MTU."""
    methods = _methods(nic)
    if Method.DHCP4 in methods:
        # Neutron knows its ports by MAC address; an id made from the machine id would change
        # with every new machine id.
        lines = ["ClientIdentifier=mac", "UseDNS=no", "UseDomains=no", "UseHostname=no"]
        lines += [f"UseMTU={_yes(nic.mtu is None)}", f"RouteMetric={metric}"]
        yield "DHCPv4", lines
    if Method.DHCP6 in methods:
        # Asks even where no router advertises: a management network may have none.
        yield "DHCPv6", ["UseDNS=no", "UseHostname=no", "WithoutRA=solicit"]
    if _takes_advertisements(nic):
        # Neutron lets a port use only the address that follows from its MAC address.
        lines = ["Token=eui64", f"DHCPv6Client={_yes(Method.DHCP6 in methods)}"]
        yield "IPv6AcceptRA", [*lines, "UseDNS=no", "UseDomains=no", f"RouteMetric={metric}"]


def _methods(nic: Nic) -> set[Method]:
    return {network.method for network in nic.networks}


def _takes_advertisements(nic: Nic) -> bool:
    return not _methods(nic).isdisjoint({Method.SLAAC, Method.DHCP6})


def _yes(value: bool) -> str:
    return "yes" if value else "no"
