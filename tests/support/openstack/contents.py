# SPDX-License-Identifier: Apache-2.0
"""What a cloud holds, to be compared before and after."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openstack.resource import Resource

from tests.support.openstack.cloud import Cloud
from tests.support.openstack.registry import identity

Contents = Mapping[str, Mapping[str, Any]]

_SCHEMATA = "SELECT CONCAT('schema ', schema_name), '' FROM information_schema.schemata"
# Grants are of one row each, so that a changed one shows.
_ACCOUNTS = "SELECT CONCAT('account ', user, '@', host), authentication_string FROM mysql.user"
_GRANTS = (
    "SELECT CONCAT('grant ', grantee, ' ', table_schema, ' ', privilege_type), is_grantable"
    " FROM information_schema.schema_privileges"
)


def contents(cloud: Cloud) -> Contents:
    """All that a cloud holds, by kind and by id, as its services tell it.

    Times and revisions of changes are in it: whatever was written shows, even if it was the same.
    Keypairs are the administrator's. Neutron makes security groups named "default" when somebody
    looks, so these are left out.
    """
    with cloud.connection(cloud.name) as admin:
        keystone = identity(admin)
        groups = _by_id(
            group for group in admin.network.security_groups() if group.name != "default"
        )
        rules = _by_id(
            rule
            for rule in admin.network.security_group_rules()
            if rule.security_group_id in groups
        )
        return {
            "project": _by_id(keystone.projects()),
            "user": _by_id(keystone.users()),
            "role": _by_id(keystone.roles()),
            "assignment": {
                str((found.role, found.scope, found.user, found.group)): None
                for found in keystone.role_assignments()
            },
            "service": _by_id(keystone.services()),
            "endpoint": _by_id(keystone.endpoints()),
            "limit": _by_id(keystone.limits()),
            "image": _by_id(admin.image.images()),
            "network": _by_id(admin.network.networks()),
            "subnet": _by_id(admin.network.subnets()),
            "port": _by_id(admin.network.ports()),
            "security group": groups,
            "security group rule": rules,
            "keypair": _by_id(admin.compute.keypairs()),
            "flavor": _by_id(admin.compute.flavors(is_public=None, get_extra_specs=True)),
            "database": _database(cloud),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Ids of what is new, gone, and changed."""

    made: Sequence[str] = ()
    gone: Sequence[str] = ()
    changed: Sequence[str] = ()


def difference(before: Contents, after: Contents) -> dict[str, Change]:
    """What differs, by kind; kinds that are as they were are absent."""
    compared = {kind: _change(before[kind], after[kind]) for kind in before}
    return {kind: change for kind, change in compared.items() if change != Change()}


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
    return Change(
        made=tuple(sorted(new.keys() - old.keys())),
        gone=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(key for key in old.keys() & new.keys() if old[key] != new[key])),
    )


def _by_id(found: Iterable[Resource]) -> dict[str, Any]:
    return {str(each.id): each.to_dict(computed=False) for each in found}


def _database(cloud: Cloud) -> dict[str, Any]:
    rows = cloud.machine.run(
        *("mariadb", "--batch", "--skip-column-names"),
        stdin=f"{_SCHEMATA} UNION ALL {_ACCOUNTS} UNION ALL {_GRANTS};",
    )
    return dict(row.split("\t") for row in rows.splitlines())
