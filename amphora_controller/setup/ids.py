# SPDX-License-Identifier: Apache-2.0
"""The ids that octavia.conf names: those of the site, or of what setup has made."""

from amphora_controller.octavia_conf import CloudIds
from amphora_controller.setup import flavor, groups, network
from amphora_controller.setup.context import Context


def cloud_ids(context: Context) -> CloudIds:
    """All of them; see Context.id_of.

    Raises:
        ControllerError: something was not made yet.
    """
    management, amphora = context.site.management, context.site.amphora
    described = management.network
    if described is not None:
        networks: tuple[str, ...] = (network.network_id(context, described),)
    else:
        networks = management.networks
    own_groups = management.security_groups or (groups.group_id(context, management.amphora_group),)
    owner = amphora.image_owner or ("" if amphora.image is None else context.project_id())
    return CloudIds(
        networks=networks,
        security_groups=own_groups,
        flavor=flavor.flavor_id(context),
        image_owner=owner,
    )
