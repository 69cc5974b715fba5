# SPDX-License-Identifier: Apache-2.0
"""amphoractl setup where the cloud refuses, where others were first, and where it is cut off."""

import signal
from collections.abc import Callable

import pytest
from openstack.connection import Connection

from tests.support.openstack.contents import contents, difference
from tests.support.openstack.operator import Operator
from tests.support.openstack.registry import identity

# A run is killed after so many changes were told.
_CHANGES_PER_RUN = 8


def test_user_without_rights_changes_nothing(operator: Operator) -> None:
    """A mere member of a project is refused with the right that is missing, and nothing is made."""
    before = contents(operator.cloud)
    refused = operator.run("setup", user=operator.cloud.unprivileged)
    assert refused.status == 3
    assert "not authorized" in refused.output
    assert "use those of an administrator" in refused.output
    assert "network   not reached" in refused.output
    assert difference(before, contents(operator.cloud)) == {}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("network", "create network lb-mgmt-net: Quota exceeded"),
        ("image", "over limit of 0"),
        ("keypair", "create keypair octavia_ssh_key: Quota exceeded"),
    ],
)
def test_exhausted_quota_is_told(operator: Operator, step: str, words: str) -> None:
    """Where the quota is used up, the step names the resource and what to do; flavors have none."""
    full = operator.cloud.exhausted
    operator.change(keystone__project=full)
    assert operator.run("setup", "keystone", "flavor", user=full).status == 0
    before = contents(operator.cloud)
    refused = operator.run("setup", step, user=full)
    assert refused.status == 3
    assert words in refused.output
    assert "no quota is left: raise it" in refused.output
    left = difference(before, contents(operator.cloud))
    # Glance counts the bytes of an image when they come.
    assert left.keys() <= {"image"}


def test_what_others_made_is_never_touched(operator: Operator) -> None:
    """Others' resources of our names are errors that name them; setup and teardown leave them."""
    with operator.cloud.connection(operator.cloud.name) as admin:
        removals = _make_others(admin)
        try:
            before = contents(operator.cloud)
            for step, what in (
                ("network", "network lb-mgmt-net"),
                ("flavor", "flavor m1.amphora"),
                ("image", "an image with the tag amphora"),
                ("keystone", "user octavia"),
            ):
                _expect_refusal(operator, step, what)
            assert operator.run("teardown", "--yes").status == 0
            assert difference(before, contents(operator.cloud)) == {}
            # What stood behind the first one of a step.
            removals["network"]()
            _expect_refusal(operator, "network", "security group lb-health-mgr-sec-grp")
            removals["user"]()
            _expect_refusal(operator, "keystone", "service of type load-balancer")
        finally:
            for remove in removals.values():
                remove()
    free = operator.run("setup")
    assert free.status == 0, free.output


def _expect_refusal(operator: Operator, step: str, what: str) -> None:
    refused = operator.run("setup", step)
    assert refused.status == 3
    assert f"failed: {what} (" in refused.output
    assert "is there already, and amphoractl did not make it" in refused.output


def _make_others(admin: Connection) -> dict[str, Callable[[], object]]:
    """Resources that somebody made by hand, each with how it is removed, once or twice."""
    keystone = identity(admin)
    project = keystone.find_project("service", ignore_missing=False).id
    network = admin.network.create_network(name="lb-mgmt-net", project_id=project).id
    group = admin.network.create_security_group(name="lb-health-mgr-sec-grp", project_id=project).id
    flavor = admin.compute.create_flavor(name="m1.amphora", ram=1, vcpus=1, disk=1).id
    image = admin.image.create_image(
        "other", disk_format="raw", container_format="bare", tags=["amphora"], owner=project
    ).id
    user = keystone.create_user(name="octavia", domain_id="default").id
    service = keystone.create_service(name="other", type="load-balancer").id
    return {
        "network": lambda: admin.network.delete_network(network),
        "group": lambda: admin.network.delete_security_group(group),
        "flavor": lambda: admin.compute.delete_flavor(flavor),
        "image": lambda: admin.image.delete_image(image),
        "user": lambda: keystone.delete_user(user),
        "service": lambda: keystone.delete_service(service),
    }


def test_keypair_of_another_is_never_touched(operator: Operator) -> None:
    """A keypair of Octavia's user that was made by hand stays; a name that is free is taken."""
    assert operator.run("setup", "keystone").status == 0
    with operator.cloud.connection(operator.cloud.name) as admin:
        user = identity(admin).find_user("octavia", ignore_missing=False).id
        admin.compute.create_keypair(name="octavia_ssh_key", user_id=user)
        refused = operator.run("setup", "keypair")
        assert (refused.status, "did not make it" in refused.output) == (3, True)
        assert operator.run("teardown", "keypair", "--yes").status == 0
        assert [key.name for key in admin.compute.keypairs(user_id=user)] == ["octavia_ssh_key"]
        operator.change(amphora__ssh_key="another")
        assert operator.run("setup", "keypair").status == 0
        assert len(list(admin.compute.keypairs(user_id=user))) == 2
        admin.compute.delete_keypair("octavia_ssh_key", user_id=user)


def test_network_of_another_project_is_no_obstacle(operator: Operator) -> None:
    """A tenant's network of the name, with the mark of the site, is neither taken nor removed."""
    with operator.cloud.connection(operator.cloud.unprivileged) as member:
        theirs = member.network.create_network(
            name="lb-mgmt-net", description="Made by amphoractl for site lab"
        ).id
    try:
        made = operator.run("setup", "keystone", "network")
        assert made.status == 0, made.output
        assert "create network lb-mgmt-net" in made.output
        assert operator.run("teardown", "--yes").status == 0
        with operator.cloud.connection(operator.cloud.unprivileged) as member:
            assert [network.id for network in member.network.networks()] == [theirs]
    finally:
        with operator.cloud.connection(operator.cloud.unprivileged) as member:
            member.network.delete_network(theirs)


def test_run_that_is_killed_is_gone_on_with(operator: Operator) -> None:
    """Runs that are killed after a few changes each make the same as one that is left alone."""
    runs = 0
    while _killed_after_changes(operator, _CHANGES_PER_RUN):
        runs += 1
    assert runs >= 3
    made = contents(operator.cloud)
    again = operator.run("setup")
    assert (again.status, again.output.splitlines()[-1]) == (0, "nothing to do")
    assert difference(made, contents(operator.cloud)) == {}
    with operator.cloud.connection(operator.cloud.name) as admin:
        assert len(list(admin.network.networks())) == 1
        assert len(list(admin.image.images())) == 1
        assert len(list(admin.compute.flavors(is_public=None))) == 1


def _killed_after_changes(operator: Operator, count: int) -> bool:
    """Run setup and kill it while it makes its last allowed change; whether it came so far."""
    told = 0
    with operator.start("setup") as running:
        assert running.stdout is not None
        for line in running.stdout:
            told += line.startswith("  ") and line != "  as it should be\n"
            if told == count:
                running.kill()
                break
    return told == count


def test_interrupted_run_says_where_it_stopped(operator: Operator) -> None:
    """Ctrl-C ends a run with a summary and status 130, and without a traceback."""
    with operator.start("setup") as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "create service" in line:
                running.send_signal(signal.SIGINT)
                break
        said = running.stdout.read()
    assert running.returncode == 130
    assert "keystone  interrupted after" in said
    assert "verify    not reached" in said
    assert "run it again: it goes on where it stopped" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("auth", "fields", "words"),
    [
        ({"password": "another"}, {}, "look at the password"),
        ({"auth_url": "http://127.0.0.1:1/v3"}, {}, "look whether the service runs"),
        ({}, {"region_name": "Nowhere"}, "not in the catalogue of this region"),
    ],
)
def test_cloud_that_is_not_reached_is_told(
    operator: Operator, auth: dict[str, str], fields: dict[str, str], words: str
) -> None:
    """A wrong password, a closed port and a region without the service are told apart."""
    with operator.entry("wrong", auth=auth, **fields) as wrong:
        refused = operator.run("setup", "network", user=wrong)
    assert (refused.status, words in refused.output) == (3, True), refused.output


def test_missing_credentials_are_told(operator: Operator) -> None:
    """A name that clouds.yaml does not have is an error that says where credentials come from."""
    refused = operator.run("setup", "network", user="absent")
    assert (refused.status, "set OS_CLOUD or --os-cloud" in refused.output) == (3, True)


def test_other_controllers_make_no_authorities_of_their_own(operator: Operator) -> None:
    """The site's first controller makes certificates; another one says whence to copy them."""
    others = [{"name": "first", "management_ip": "192.0.2.9"}, *operator.document()["controllers"]]
    operator.change(controllers=others)
    refused = operator.run("setup", "certs")
    assert refused.status == 3
    assert f"copy {operator.certificates} from first" in refused.output
    assert not operator.certificates.exists()
    operator.change(controllers=others[::-1])
    assert operator.run("setup", "certs").status == 0


def test_conf_is_not_written_while_a_file_is_wrong(operator: Operator) -> None:
    """octavia.conf is as before while a file that it names is missing or does not fit."""
    assert operator.run("setup").status == 0
    before = operator.conf.read_text()
    operator.change(health__heartbeat_key="another-key-of-heartbeats")
    chain = operator.certificates / "client_ca.cert.pem"
    kept = chain.read_bytes()
    chain.unlink()
    refused = operator.run("setup", "config")
    assert refused.status == 3
    assert f"{chain} cannot be read" in refused.output
    chain.write_bytes(kept)
    operator.change(certificates__ca_passphrase="another")
    refused = operator.run("setup", "config")
    assert refused.status == 3
    assert "passphrase is wrong" in refused.output
    assert operator.conf.read_text() == before
    operator.change(certificates__ca_passphrase="pass-of-the-authority")
    assert operator.run("setup", "config").status == 0
    assert "another-key-of-heartbeats" in operator.conf.read_text()


def test_unwritable_path_is_told(operator: Operator) -> None:
    """Where octavia.conf cannot be written the path is named; the cloud's part stays as made."""
    operator.conf.parent.write_text("a file where a directory should be")
    refused = operator.run("setup")
    assert refused.status == 3
    assert f"{operator.conf} cannot be" in refused.output
    operator.conf.parent.unlink()
    assert operator.run("setup").status == 0


@pytest.mark.parametrize(
    ("owner", "steps", "words"),
    [
        ("compute:nova", (), "1 ports of amphorae are in network lb-mgmt-net"),
        ("Octavia:health-mgr", ("network",), "port of-ctl2 of a controller is in network"),
    ],
)
def test_teardown_waits_for_ports(
    operator: Operator, owner: str, steps: tuple[str, ...], words: str
) -> None:
    """While an amphora or a controller has a port there nothing is removed; then all is."""
    assert operator.run("setup", "keystone", "network").status == 0
    with operator.cloud.connection(operator.cloud.name) as admin:
        (network,) = admin.network.networks(name="lb-mgmt-net")
        port = admin.network.create_port(network_id=network.id, device_owner=owner, name="of-ctl2")
        before = contents(operator.cloud)
        refused = operator.run("teardown", "--yes", *steps)
        assert refused.status == 3
        assert words in refused.output
        assert difference(before, contents(operator.cloud)) == {}
        admin.network.delete_port(port)
    assert operator.run("teardown", "--yes", "network", "keystone").status == 0
