# SPDX-License-Identifier: Apache-2.0
"""amphoractl setup and teardown, with a real cloud: what is made, and what a second run does."""

from typing import Any

import pytest
from openstack.connection import Connection

from tests.support.openstack.contents import Change, contents, difference
from tests.support.openstack.operator import HOST, PASSWORD, SECRETS, STEPS, Operator
from tests.support.openstack.registry import identity

ROLES = {"observer", "global_observer", "member", "quota_admin", "admin"}


def rules(admin: Connection, group: str) -> set[tuple[Any, ...]]:
    """A group's rules, by what they let pass."""
    (found,) = admin.network.security_groups(name=group)
    return {
        (
            rule.direction,
            rule.ether_type,
            rule.protocol,
            rule.port_range_min,
            rule.port_range_max,
            rule.remote_ip_prefix,
        )
        for rule in admin.network.security_group_rules(security_group_id=found.id)
    }


EGRESS = {
    ("egress", "IPv4", None, None, None, None),
    ("egress", "IPv6", None, None, None, None),
}


def test_second_run_changes_nothing(operator: Operator) -> None:
    """After a run that makes everything, another one finds nothing to do and changes nothing."""
    nothing = contents(operator.cloud)
    first = operator.run("setup")
    assert first.status == 0, first.output
    made = contents(operator.cloud)
    counts = {kind: len(change.made) for kind, change in difference(nothing, made).items()}
    assert counts == {
        "user": 1,
        "role": 5,
        "assignment": 1,
        "service": 1,
        "endpoint": 3,
        "image": 1,
        "network": 1,
        "subnet": 1,
        "security group": 2,
        "security group rule": 8,
        "flavor": 1,
    }
    files = {path: path.read_bytes() for path in operator.directory.rglob("*") if path.is_file()}
    second = operator.run("setup")
    assert second.status == 0
    assert second.output.endswith("nothing to do\n")
    assert [line.split("  ")[0] for line in second.output.splitlines()[-9:-1]] == list(STEPS)
    assert difference(made, contents(operator.cloud)) == {}
    assert files == {
        path: path.read_bytes() for path in operator.directory.rglob("*") if path.is_file()
    }
    assert not [secret for secret in SECRETS if secret in first.output + second.output]


def test_run_after_a_change_by_hand_mends_that_alone(operator: Operator) -> None:
    """A rule too many and one too few in a group, and a tag that is gone, are mended, no more."""
    assert operator.run("setup").status == 0
    made = contents(operator.cloud)
    with operator.cloud.connection(operator.cloud.name) as admin:
        (group,) = admin.network.security_groups(name="lb-mgmt-sec-grp")
        for rule in admin.network.security_group_rules(security_group_id=group.id):
            if rule.port_range_min == 9443:
                admin.network.delete_security_group_rule(rule)
        admin.network.create_security_group_rule(
            security_group_id=group.id, direction="ingress", remote_group_id=group.id
        )
        (image,) = admin.image.images(tag="amphora")
        assert admin.image.delete(f"/images/{image.id}/tags/amphora").ok
        wrong = operator.run("setup", "verify")
        assert wrong.status == 3
        assert "lb-mgmt-sec-grp lacks: ingress IPv4 tcp 9443 from 192.0.2.11/32" in wrong.output
        assert "lb-mgmt-sec-grp has a rule too many" in wrong.output
        assert "to have the tag amphora; there are: none" in wrong.output
        mended = operator.run("setup")
        assert mended.status == 0, mended.output
        assert rules(admin, "lb-mgmt-sec-grp") == {
            *EGRESS,
            ("ingress", "IPv4", "icmp", None, None, None),
            ("ingress", "IPv4", "tcp", 9443, 9443, "192.0.2.11/32"),
        }
    after = difference(made, contents(operator.cloud))
    assert after.keys() == {"image", "security group", "security group rule"}
    assert len(after["security group rule"].made) == len(after["security group rule"].gone) == 1


def test_everything_is_made_as_octavia_needs_it(operator: Operator) -> None:
    """User, roles, endpoints, image, flavor, keypair, network, groups are as Octavia needs them."""
    assert operator.run("setup").status == 0
    with operator.cloud.connection(operator.cloud.name) as admin:
        keystone = identity(admin)
        names = {role.name for role in keystone.roles()}
        assert {f"load-balancer_{kind}" for kind in ROLES} <= names
        (entry,) = keystone.services(type="load-balancer")
        endpoints = {each.interface: each.url for each in keystone.endpoints(service_id=entry.id)}
        assert endpoints == dict.fromkeys(("public", "internal", "admin"), "http://127.0.0.1:9876")
        project = keystone.find_project("service", ignore_missing=False).id
        user = keystone.find_user("octavia", ignore_missing=False).id

        (image,) = admin.image.images(tag="amphora", owner=project)
        assert (image.status, image.visibility, image.disk_format) == ("active", "private", "raw")
        assert image.properties["hw_architecture"] == "x86_64"
        assert image.hw_rng_model == "virtio"
        assert admin.image.download_image(image.id).content == operator.image.read_bytes()

        flavor = admin.compute.find_flavor("m1.amphora", ignore_missing=False)
        flavor = admin.compute.get_flavor(flavor.id, get_extra_specs=True)
        assert (flavor.ram, flavor.vcpus, flavor.disk, flavor.is_public) == (1024, 1, 1, False)
        assert flavor.extra_specs == {"hw_rng:allowed": "True"}
        (keypair,) = admin.compute.keypairs(user_id=user)
        assert keypair.name == "octavia_ssh_key"

        (network,) = admin.network.networks(name="lb-mgmt-net", project_id=project)
        (subnet,) = admin.network.subnets(network_id=network.id)
        assert (subnet.cidr, subnet.gateway_ip, subnet.is_dhcp_enabled) == (
            "192.0.2.0/24",
            None,
            False,
        )
        assert subnet.allocation_pools == [{"start": "192.0.2.100", "end": "192.0.2.200"}]
        assert rules(admin, "lb-health-mgr-sec-grp") == {
            *EGRESS,
            ("ingress", "IPv4", "icmp", None, None, None),
            ("ingress", "IPv4", "udp", 5555, 5555, "192.0.2.0/24"),
        }
        groups = {group.project_id for group in admin.network.security_groups(project_id=project)}
        (amphorae,) = admin.network.security_groups(name="lb-mgmt-sec-grp", project_id=project)
        assert groups == {project}
    text = operator.conf.read_text()
    for line in (
        f"amp_boot_network_list = {network.id}",
        f"amp_secgroup_list = {amphorae.id}",
        f"amp_flavor_id = {flavor.id}",
        f"amp_image_owner_id = {project}",
        "amp_ssh_key_name = octavia_ssh_key",
    ):
        assert line in text.splitlines()


def test_user_logs_in_with_the_password_of_the_site(operator: Operator) -> None:
    """The user has the site's password, a changed one after the next run, and no other."""
    assert operator.run("setup", "keystone").status == 0

    def logs_in(password: str) -> bool:
        with operator.cloud.connection(operator.cloud.name) as admin:
            as_user = admin.connect_as(
                username="octavia", password=password, project_name="service",
                user_domain_name="Default", project_domain_name="Default",
            )  # fmt: skip
            with as_user:
                try:
                    return bool(as_user.authorize())
                except Exception:  # noqa: BLE001  # openstacksdk has many
                    return False

    assert logs_in(PASSWORD)
    assert not logs_in("another")
    operator.change(keystone__password="another")
    # As many clouds.yaml have it: without a version.
    with operator.entry("plain", auth={"auth_url": "http://127.0.0.1:5000"}) as plain:
        again = operator.run("setup", "keystone", user=plain)
    assert "set the password of user octavia" in again.output
    assert "keystone  changed: 1 change" in again.output
    assert logs_in("another")
    assert not logs_in(PASSWORD)


def test_dry_run_shows_all_and_changes_nothing(operator: Operator) -> None:
    """A dry run prints each request, command and file without secrets, and does none of them."""
    before = contents(operator.cloud)
    files = sorted(operator.directory.rglob("*"))
    shown = operator.run("setup", "--dry-run")
    assert shown.status == 1
    assert difference(before, contents(operator.cloud)) == {}
    assert sorted(operator.directory.rglob("*")) == files
    for words in (
        'identity: POST /users {"user": {"name": "octavia"',
        "image: PUT /images/<id of image amphora-x64-haproxy>/file <",
        '"network_id": "<id of network lb-mgmt-net>"',
        "+amp_flavor_id = <id of flavor m1.amphora>",
        "verify    not known before the changes above are made",
    ):
        assert words in shown.output
    assert not [secret for secret in SECRETS if secret in shown.output]
    told = shown.output.count("\n  would ")
    made = operator.run("setup")
    done = [
        line for line in made.output.splitlines() if line.startswith("  ") and "as it" not in line
    ]
    assert told == len(done)
    again = operator.run("setup", "--dry-run")
    assert (again.status, again.output.splitlines()[-1]) == (0, "nothing to do")


def test_teardown_leaves_nothing(operator: Operator) -> None:
    """After a teardown cloud and host are as before; certificates stay until they are asked for."""
    operator.conf.parent.mkdir()
    operator.conf.write_text("[DEFAULT]\n# of the package\n")
    before = contents(operator.cloud)
    assert operator.run("setup").status == 0
    made = contents(operator.cloud)
    shown = operator.run("teardown", "--dry-run")
    assert shown.status == 1
    assert "would delete network lb-mgmt-net" in shown.output
    assert difference(made, contents(operator.cloud)) == {}
    gone = operator.run("teardown", "--yes")
    assert gone.status == 0, gone.output
    assert difference(before, contents(operator.cloud)) == {}
    assert operator.conf.read_text() == "[DEFAULT]\n# of the package\n"
    assert [path.name for path in operator.conf.parent.iterdir()] == ["octavia.conf"]
    assert (operator.certificates / "server_ca.key.pem").exists()
    again = operator.run("teardown", "--yes")
    assert (again.status, again.output.splitlines()[-1]) == (0, "nothing to do")
    assert operator.run("teardown", "certs", "--yes", "--certificates").status == 0
    assert not operator.certificates.exists()


def test_teardown_that_is_not_confirmed_removes_nothing(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a yes nothing is removed; with one it is."""
    assert operator.run("setup", "flavor").status == 0
    made = contents(operator.cloud)
    for answer, change in (("n", {}), ("y", {"flavor": Change(gone=tuple(made["flavor"]))})):
        typed = operator.directory / "typed"
        typed.write_text(f"{answer}\n")
        with typed.open() as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            ran = operator.run("teardown", "flavor")
        assert ran.status == (130 if answer == "n" else 0)
        assert difference(made, contents(operator.cloud)) == change


def test_changed_site_changes_what_is_there(operator: Operator) -> None:
    """A new MTU, pool, flavor, address of the API and SSH for controllers come with one run."""
    assert operator.run("setup").status == 0
    before = contents(operator.cloud)
    operator.change(
        management__network__mtu=1400,
        management__ssh=True,
        amphora__flavor={"ram_mib": 512},
        endpoints__public="http://127.0.0.1:19876",
        logs={"admin_targets": ["192.0.2.11:10514"], "protocol": "TCP"},
    )
    operator.change(
        management__network__subnets=[
            {"cidr": "192.0.2.0/24", "pool": ["192.0.2.50", "192.0.2.60"]}
        ]
    )
    changed = operator.run("setup")
    assert changed.status == 0, changed.output
    found = difference(before, contents(operator.cloud))
    assert {kind: (len(each.made), len(each.changed)) for kind, each in found.items()} == {
        "endpoint": (0, 3),
        "flavor": (0, 1),
        "network": (0, 1),
        "subnet": (0, 1),
        "security group": (0, 2),
        "security group rule": (2, 0),
    }
    with operator.cloud.connection(operator.cloud.name) as admin:
        assert ("ingress", "IPv4", "tcp", 22, 22, "192.0.2.11/32") in rules(
            admin, "lb-mgmt-sec-grp"
        )
        assert ("ingress", "IPv4", "tcp", 10514, 10514, "192.0.2.0/24") in rules(
            admin, "lb-health-mgr-sec-grp"
        )
    assert operator.run("setup").output.endswith("nothing to do\n")
    operator.change(management__network__subnets=[{"cidr": "198.51.100.0/24"}])
    refused = operator.run("setup", "network")
    assert refused.status == 3
    assert "Neutron cannot change that" in refused.output


def test_network_of_ipv6_and_of_a_provider(operator: Operator) -> None:
    """An IPv6 network has rules of IPv6, and no DHCP unless the site names an address mode."""
    modes = {"plain": None, "router": "slaac", "server": "dhcpv6-stateful"}
    subnets = [
        {"name": name, "cidr": f"2001:db8:{index}::/64"} | ({"address_mode": mode} if mode else {})
        for index, (name, mode) in enumerate(modes.items(), 1)
    ]
    operator.change(
        controllers=[{"name": HOST, "management_ip": "2001:db8:1::11"}],
        management__network__subnets=subnets,
        management__network__provider={"type": "vxlan", "segment": 77},
    )
    made = operator.run("setup", "keystone", "network")
    assert made.status == 0, made.output
    with operator.cloud.connection(operator.cloud.name) as admin:
        for name, mode in modes.items():
            (found,) = admin.network.subnets(name=name)
            assert (found.is_dhcp_enabled, found.gateway_ip) == (mode is not None, None)
            assert (found.ipv6_address_mode, found.ipv6_ra_mode) == (mode, mode)
        assert rules(admin, "lb-mgmt-sec-grp") == {
            *EGRESS,
            ("ingress", "IPv6", "ipv6-icmp", None, None, None),
            ("ingress", "IPv6", "tcp", 9443, 9443, "2001:db8:1::11/128"),
        }
        assert ("ingress", "IPv6", "udp", 5555, 5555, "2001:db8:2::/64") in rules(
            admin, "lb-health-mgr-sec-grp"
        )
        (network,) = admin.network.networks(name="lb-mgmt-net")
        assert (network.provider_network_type, network.provider_segmentation_id) == ("vxlan", 77)
    again = operator.run("setup", "network")
    assert again.output.endswith("nothing to do\n")
    operator.change(management__network__provider__segment=78)
    refused = operator.run("setup", "network")
    assert refused.status == 3
    assert "provider:segmentation_id 77, and the site says 78: Neutron cannot" in refused.output


def test_network_that_is_there_is_used_by_its_id(operator: Operator) -> None:
    """With ids in the site nothing is made in their place, and octavia.conf names them."""
    with operator.cloud.connection(operator.cloud.name) as admin:
        network = admin.network.create_network(name="given")
        admin.network.create_subnet(network_id=network.id, ip_version=4, cidr="198.51.100.0/24")
        flavor = admin.compute.create_flavor(name="given", ram=1024, vcpus=1, disk=2)
    try:
        operator.change(management={"networks": [network.id]}, amphora__flavor=flavor.id)
        made = operator.run("setup")
        assert made.status == 0, made.output
        with operator.cloud.connection(operator.cloud.name) as admin:
            assert list(admin.network.networks(name="lb-mgmt-net")) == []
            assert ("ingress", "IPv4", "udp", 5555, 5555, "198.51.100.0/24") in rules(
                admin, "lb-health-mgr-sec-grp"
            )
        lines = operator.conf.read_text().splitlines()
        assert f"amp_boot_network_list = {network.id}" in lines
        assert f"amp_flavor_id = {flavor.id}" in lines
        assert operator.run("teardown", "--yes").status == 0
        with operator.cloud.connection(operator.cloud.name) as admin:
            assert admin.network.get_network(network.id).name == "given"
    finally:
        with operator.cloud.connection(operator.cloud.name) as admin:
            admin.network.delete_network(network.id)
            admin.compute.delete_flavor(flavor.id)


def test_project_is_made_and_goes_when_nobody_else_is_in_it(operator: Operator) -> None:
    """A project that setup made is removed again, but not while others have roles in it."""
    operator.change(keystone__project="octavia-own")
    assert "create project octavia-own" in operator.run("setup", "keystone").output
    with operator.cloud.connection(operator.cloud.name) as admin:
        project = identity(admin).find_project("octavia-own", ignore_missing=False).id
        admin.grant_role("member", user=operator.cloud.unprivileged, project=project)
        used = operator.run("teardown", "keystone", "--yes")
        assert (used.status, "delete project" in used.output) == (0, False)
        admin.revoke_role("member", user=operator.cloud.unprivileged, project=project)
    assert "delete project octavia-own" in operator.run("teardown", "keystone", "--yes").output


def test_disabled_user_is_mended_in_one_run(operator: Operator) -> None:
    """A user that was disabled, and whose password was changed by hand, is right after one run."""
    assert operator.run("setup", "keystone").status == 0
    with operator.cloud.connection(operator.cloud.name) as admin:
        user = identity(admin).find_user("octavia", ignore_missing=False).id
        identity(admin).update_user(user, is_enabled=False, password="by hand")
    mended = operator.run("setup", "keystone")
    assert "enable user octavia\n  set the password of user octavia\n" in mended.output
    assert operator.run("setup", "keystone").output.endswith("nothing to do\n")
