# SPDX-License-Identifier: Apache-2.0
"""What a cloud holds: a comparison sees every kind of change."""

from tests.support.openstack.cloud import Cloud
from tests.support.openstack.contents import Change, contents, difference


def test_comparison_sees_what_is_made_changed_and_deleted(cloud: Cloud) -> None:
    """A network shows when it is made, when its description is written, and when it is gone."""
    nothing = contents(cloud)
    with cloud.connection(cloud.unprivileged) as member:
        made = member.network.create_network(name="seen").id
        one = contents(cloud)
        assert difference(nothing, one) == {"network": Change(made=(made,))}
        member.network.update_network(made, description="changed")
        changed = contents(cloud)
        assert difference(one, changed) == {"network": Change(changed=(made,))}
        member.network.delete_network(made)
    assert difference(changed, contents(cloud)) == {"network": Change(gone=(made,))}
    assert difference(nothing, contents(cloud)) == {}


def test_comparison_sees_a_tag_and_a_role(cloud: Cloud) -> None:
    """A tag more on an image, a role more of a user and an account of the database show."""
    with cloud.connection(cloud.name) as admin:
        image = admin.image.create_image("seen", disk_format="raw", container_format="bare").id
        before = contents(cloud)
        admin.image.update_image(image, tags=["amphora"])
        admin.grant_role("reader", user=cloud.unprivileged, project=cloud.unprivileged)
        cloud.machine.run("mariadb", stdin="CREATE USER seen@localhost;")
        after = difference(before, contents(cloud))
        admin.image.delete_image(image)
        admin.revoke_role("reader", user=cloud.unprivileged, project=cloud.unprivileged)
        cloud.machine.run("mariadb", stdin="DROP USER seen@localhost;")
    assert after.keys() == {"image", "assignment", "database"}
    assert after["image"] == Change(changed=(image,))
    assert after["database"].made == ("account seen@localhost",)
