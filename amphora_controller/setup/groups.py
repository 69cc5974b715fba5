# SPDX-License-Identifier: Apache-2.0
"""Security groups with exactly the rules that the site asks for."""

from collections.abc import Iterator

from amphora_controller.setup.cloud import Found, Request, Service
from amphora_controller.setup.context import Context
from amphora_controller.setup.rules import Rule, amphora_rules, controller_rules, told
from amphora_controller.setup.steps import Change

_STEP = "network"


def changes(context: Context) -> Iterator[Change]:
    """What has to change of both groups; see Step.

    Where the site has ids of groups for amphorae, only the controllers' is made.
    """
    management = context.site.management
    networks = tuple(subnets(context))
    if not management.security_groups:
        wanted = amphora_rules(context.site, networks)
        yield from _changes(context, management.amphora_group, wanted)
    wanted = controller_rules(context.site, networks)
    yield from _changes(context, management.controller_group, wanted)


def removals(context: Context) -> Iterator[Change]:
    """See Step."""
    if context.project() is None:
        return
    management = context.site.management
    for name in (management.controller_group, management.amphora_group):
        for found in _named(context, name):
            if context.is_own(found):
                yield context.change(
                    f"delete security group {name}",
                    Request(
                        service=Service.NETWORK,
                        method="DELETE",
                        path=f"/security-groups/{found['id']}",
                    ),
                )


def group_id(context: Context, name: str) -> str:
    """The id of a group that setup made; see Context.id_of."""
    return context.id_of(_find(context, name), f"security group {name}", _STEP)


def subnets(context: Context) -> Iterator[str]:
    """The management network's subnets, in CIDR notation."""
    management = context.site.management
    if management.network is not None:
        for described in management.network.subnets:
            yield str(described.cidr)
    for network in management.networks:
        for found in context.cloud.find_all(Service.NETWORK, "/subnets", network_id=network):
            yield str(found["cidr"])


def differences(
    context: Context, name: str, wanted: frozenset[Rule]
) -> tuple[list[Rule], list[Found]]:
    """Rules that a group lacks, and those that it has beyond."""
    found = _find(context, name)
    there = [] if found is None else found["security_group_rules"]
    missing = wanted - {told(rule) for rule in there}
    return sorted(missing, key=str), [rule for rule in there if told(rule) not in wanted]


def _changes(context: Context, name: str, wanted: frozenset[Rule]) -> Iterator[Change]:
    if _find(context, name) is None:
        body = {
            "name": name,
            "description": context.mark,
            "project_id": context.project_id(),
        }
        yield context.change(
            f"create security group {name}",
            Request(
                service=Service.NETWORK,
                method="POST",
                path="/security-groups",
                body={"security_group": body},
            ),
        )
    missing, extra = differences(context, name, wanted)
    for rule in missing:
        if context.dry_run and rule.direction == "egress" and len(missing) == len(wanted):
            # A new group has these.
            continue
        yield context.change(
            f"add to security group {name}: {rule}",
            Request(
                service=Service.NETWORK,
                method="POST",
                path="/security-group-rules",
                body={"security_group_rule": rule.body(group_id(context, name))},
            ),
        )
    for found in extra:
        yield context.change(
            f"remove from security group {name}: {told(found) or found['id']}",
            Request(
                service=Service.NETWORK,
                method="DELETE",
                path=f"/security-group-rules/{found['id']}",
            ),
        )


def _find(context: Context, name: str) -> Found | None:
    return context.own(_named(context, name), f"security group {name}")


def _named(context: Context, name: str) -> Iterator[Found]:
    # A list of one project's groups would make Neutron give it a default group.
    project = context.project_id()
    for found in context.cloud.find_all(Service.NETWORK, "/security-groups", name=name):
        if found["project_id"] == project:
            yield found
