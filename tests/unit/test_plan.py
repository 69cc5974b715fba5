# SPDX-License-Identifier: Apache-2.0
"""Desired network state and the steps to it."""

import dataclasses
from ipaddress import ip_address, ip_interface, ip_network

from amphora_agent import plan
from amphora_agent.models import (
    FixedIp,
    HostRoute,
    Interface,
    LiveInterface,
    LiveRoute,
    NetworkPlug,
    Route,
    Rule,
    Vip,
    VipPlug,
)
from amphora_agent.topology import Topology

SUBNET = ip_network("203.0.113.0/24")
VIP = ip_address("203.0.113.9")
GATEWAY = ip_address("203.0.113.1")
ANYWHERE = ip_network("0.0.0.0/0")
PLUG = VipPlug(
    vips=(Vip(address=VIP, subnet=SUBNET, gateway=GATEWAY, host_routes=()),),
    mac="fa:16:3e:00:00:01",
    mtu=1450,
    vrrp_ip=ip_address("203.0.113.4"),
    is_sriov=False,
)
MEMBER_ROUTE = HostRoute(
    destination=ip_network("198.51.100.128/25"), nexthop=ip_address("192.0.2.2")
)
FIXED_IP = FixedIp(
    interface=ip_interface("192.0.2.4/24"),
    gateway=ip_address("192.0.2.1"),
    host_routes=(MEMBER_ROUTE,),
)
NETWORK_PLUG = NetworkPlug(mac="fa:16:3e:00:00:02", fixed_ips=(FIXED_IP,), mtu=1450, is_sriov=False)
NOTHING = LiveInterface(up=False, mtu=1500, addresses=(), routes=(), rules=())


def settled(desired: Interface) -> LiveInterface:
    """What the kernel says once everything is done."""
    return LiveInterface(
        up=True,
        mtu=desired.mtu or 1500,
        addresses=tuple(entry.interface for entry in desired.addresses),
        routes=tuple(LiveRoute(route=route, ours=True) for route in desired.routes),
        rules=desired.rules,
    )


def test_vip_interface_single_has_policy_routes() -> None:
    """With one amphora the agent owns the VIP, its table-1 routes and its rule."""
    desired = plan.vip_interface(PLUG, Topology.SINGLE)
    assert desired.name == "eth1"
    assert [(str(entry.interface), entry.owned) for entry in desired.addresses] == [
        ("203.0.113.4/24", True),
        ("203.0.113.9/32", True),
    ]
    assert set(desired.routes) == {
        Route(destination=SUBNET),
        Route(destination=SUBNET, source=VIP, table=1),
        Route(destination=ANYWHERE, gateway=GATEWAY),
        Route(destination=ANYWHERE, gateway=GATEWAY, table=1),
    }
    assert desired.rules == (Rule(source=ip_network("203.0.113.9/32"), table=1),)


def test_vip_interface_of_a_pair_leaves_the_vip_to_keepalived() -> None:
    """With ACTIVE_STANDBY the VIP is known but not owned; table 1 and rules are keepalived's."""
    desired = plan.vip_interface(PLUG, Topology.ACTIVE_STANDBY)
    assert [entry.owned for entry in desired.addresses] == [True, False]
    assert {route.table for route in desired.routes} == {254}
    assert desired.rules == ()


def test_vip_interface_without_gateway_has_no_default_route() -> None:
    """A subnet without gateway gives only its own routes and host routes."""
    route = HostRoute(destination=ip_network("198.51.100.0/24"), nexthop=GATEWAY)
    vip = Vip(address=VIP, subnet=SUBNET, gateway=None, host_routes=(route,))
    desired = plan.vip_interface(dataclasses.replace(PLUG, vips=(vip,)), Topology.SINGLE)
    destinations = {entry.destination for entry in desired.routes}
    assert destinations == {SUBNET, route.destination}


def test_steps_from_nothing_bring_up_first_and_rules_last() -> None:
    """A new NIC is brought up, then gets addresses, then routes, then rules."""
    steps = plan.interface(plan.vip_interface(PLUG, Topology.SINGLE), NOTHING)
    kinds = [type(step) for step in steps]
    assert kinds == ([plan.SetLink] + [plan.AddAddress] * 2 + [plan.AddRoute] * 4 + [plan.AddRule])


def test_steps_in_the_desired_state_are_none() -> None:
    """Nothing is done where everything is right."""
    desired = plan.vip_interface(PLUG, Topology.SINGLE)
    assert plan.interface(desired, settled(desired)) == ()


def test_steps_take_the_kernels_subnet_route_for_ours() -> None:
    """The route that the kernel adds with an address serves as the link route of the subnet."""
    desired = plan.vip_interface(PLUG, Topology.SINGLE)
    live = settled(desired)
    kernel = LiveRoute(
        route=Route(destination=SUBNET, source=ip_address("203.0.113.4")), ours=False
    )
    routes = tuple(entry for entry in live.routes if entry.route != Route(destination=SUBNET))
    assert plan.interface(desired, dataclasses.replace(live, routes=(*routes, kernel))) == ()


def test_steps_never_touch_a_vip_that_keepalived_owns() -> None:
    """A VIP of a pair is neither added on the standby nor deleted on the active amphora."""
    desired = plan.vip_interface(PLUG, Topology.ACTIVE_STANDBY)
    active = settled(desired)
    standby = dataclasses.replace(active, addresses=active.addresses[:1])
    assert plan.interface(desired, active) == ()
    assert plan.interface(desired, standby) == ()


def test_steps_leave_foreign_routes_alone() -> None:
    """A route that is not ours is not deleted, one of ours that is not wanted any more is."""
    desired = plan.vip_interface(PLUG, Topology.SINGLE)
    live = settled(desired)
    stale = Route(destination=ip_network("192.0.2.0/24"), gateway=GATEWAY)
    foreign = dataclasses.replace(live, routes=(*live.routes, LiveRoute(route=stale, ours=False)))
    ours = dataclasses.replace(live, routes=(*live.routes, LiveRoute(route=stale, ours=True)))
    assert plan.interface(desired, foreign) == ()
    assert plan.interface(desired, ours) == (plan.DeleteRoute(stale),)


def test_steps_delete_before_they_add() -> None:
    """A changed address is deleted before the new one comes, so that none is lost with it."""
    desired = plan.vip_interface(PLUG, Topology.SINGLE)
    old = ip_interface("203.0.113.77/24")
    live = dataclasses.replace(settled(desired), addresses=(old,))
    steps = plan.interface(desired, live)
    assert steps[0] == plan.DeleteAddress(old)
    assert plan.AddAddress(ip_interface("203.0.113.4/24")) in steps[1:]


def test_steps_set_a_changed_mtu() -> None:
    """An interface that is up gets a new MTU all the same."""
    desired = plan.vip_interface(PLUG, Topology.SINGLE)
    live = dataclasses.replace(settled(desired), mtu=9000)
    assert plan.interface(desired, live) == (plan.SetLink(mtu=1450),)


def test_vip_interface_holds_one_route_to_a_destination() -> None:
    """VIPs of one subnet, and another gateway of members, share the routes of the first VIP."""
    second = dataclasses.replace(PLUG.vips[0], address=ip_address("203.0.113.10"))
    plug = dataclasses.replace(PLUG, vips=(*PLUG.vips, second))
    desired = plan.vip_interface(plug, Topology.SINGLE, (FIXED_IP,))
    places = [(route.destination, route.table) for route in desired.routes]
    assert len(places) == len(set(places))
    assert Route(destination=ANYWHERE, gateway=GATEWAY) in desired.routes
    assert len(desired.rules) == 2


def test_vip_interface_takes_member_addresses() -> None:
    """Member addresses on the VIP's NIC come with a gateway, where the VIP has none."""
    vip = dataclasses.replace(PLUG.vips[0], gateway=None)
    plug = dataclasses.replace(PLUG, vips=(vip,))
    default = Route(destination=ANYWHERE, gateway=FIXED_IP.gateway)
    single = plan.vip_interface(plug, Topology.SINGLE, (FIXED_IP,))
    pair = plan.vip_interface(plug, Topology.ACTIVE_STANDBY, (FIXED_IP,))
    assert str(single.addresses[-1].interface) == "192.0.2.4/24"
    assert {default, dataclasses.replace(default, table=1)} <= set(single.routes)
    assert {route.table for route in pair.routes} == {254}
    assert default in pair.routes


def test_network_interface_has_host_routes_but_no_gateway() -> None:
    """A member NIC gets its addresses and host routes; the default route stays the VIP's."""
    desired = plan.network_interface(NETWORK_PLUG, "eth2")
    assert [str(entry.interface) for entry in desired.addresses] == ["192.0.2.4/24"]
    assert desired.routes == (
        Route(destination=MEMBER_ROUTE.destination, gateway=MEMBER_ROUTE.nexthop),
    )
    assert (desired.rules, desired.automatic) == ((), False)


def test_network_interface_without_a_list_is_automatic() -> None:
    """No list of addresses means DHCP; an empty one means none."""
    for fixed_ips, automatic in ((None, True), ((), False)):
        plug = dataclasses.replace(NETWORK_PLUG, fixed_ips=fixed_ips)
        assert plan.network_interface(plug, "eth2").automatic is automatic


def test_steps_of_a_member_nic_leave_the_vips_rules() -> None:
    """Rules belong to no interface: only the VIP's plan may delete any."""
    desired = plan.network_interface(NETWORK_PLUG, "eth2")
    rule = Rule(source=ip_network("203.0.113.9/32"), table=1)
    live = dataclasses.replace(settled(desired), rules=(rule,))
    assert plan.interface(desired, live) == ()
    stale = dataclasses.replace(rule, source=ip_network("203.0.113.77/32"))
    vip = plan.vip_interface(PLUG, Topology.SINGLE)
    live = dataclasses.replace(settled(vip), rules=(*vip.rules, stale))
    assert plan.interface(vip, live) == (plan.DeleteRule(stale),)


def test_remembered_vips_complete_a_request_without_any() -> None:
    """Additional VIPs of the same NIC are put back, those of another NIC are not."""
    second = dataclasses.replace(PLUG.vips[0], address=ip_address("203.0.113.10"))
    before = dataclasses.replace(PLUG, vips=(*PLUG.vips, second))
    assert plan.with_remembered_vips(PLUG, before).vips == before.vips
    assert plan.with_remembered_vips(before, PLUG) == before
    assert plan.with_remembered_vips(PLUG, None) == PLUG
    foreign = dataclasses.replace(before, mac="fa:16:3e:00:00:99")
    assert plan.with_remembered_vips(PLUG, foreign) == PLUG


def test_free_name_begins_at_eth2() -> None:
    """eth1 is the VIP's even before it is there, and gaps are filled."""
    assert plan.free_name(()) == "eth2"
    assert plan.free_name({"lo", "eth1", "eth2", "eth4"}) == "eth3"
