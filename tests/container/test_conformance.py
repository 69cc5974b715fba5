# SPDX-License-Identifier: Apache-2.0
"""The conformance suite against an amphora in a container."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import PurePosixPath

import pytest

from tests.conformance.fixtures import *  # noqa: F403
from tests.conformance.target import LocalFiles, Nic, Target
from tests.conformance.test_api_0_5 import *  # noqa: F403
from tests.conformance.test_checklist import *  # noqa: F403
from tests.conformance.test_rows import *  # noqa: F403
from tests.conformance.test_rows_files import *  # noqa: F403
from tests.conformance.test_rows_network import *  # noqa: F403
from tests.conformance.test_transport import *  # noqa: F403
from tests.conformance.test_traps import *  # noqa: F403
from tests.container.conftest import MEMBER_MAC, VIP_MAC, member_network
from tests.support import guest as guests
from tests.support import lab
from tests.support.container import Container
from tests.support.guest import Plan
from tests.support.yard import Yard

MEMBERS = IPv4Network("203.0.113.0/24")


@pytest.fixture(scope="module")
def amphora(
    plan: Plan, yard: Yard, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """An amphora with a NIC for the VIP and one for members."""
    inside = plan.networks.namespace
    with yard.boot(plan, tmp_path_factory.mktemp("conformance")) as booted:
        inside.add_nic("vip0", mac=VIP_MAC, mtu=lab.MTU, bridge=lab.VIP_BRIDGE)
        bridge = member_network(plan.networks)
        inside.add_nic("member0", mac=MEMBER_MAC, mtu=lab.MTU, bridge=bridge)
        booted.plug(inside, "vip0")
        booted.plug(inside, "member0")
        yield booted


@pytest.fixture(scope="module")
def target(amphora: Container, plan: Plan) -> Target:
    """The agent in the amphora."""
    return Target(
        inside=plan.networks.namespace,
        address=plan.amphora.management_address,
        amphora_id=plan.amphora.id,
        trust=plan.pki.server_chain,
        controller=plan.pki.controller,
        stranger=plan.pki.stranger,
        server_pem=PurePosixPath(guests.SERVER_PEM),
        config_file=PurePosixPath(guests.AGENT_CONFIG),
        files=LocalFiles(amphora.root),
        mint=lambda: plan.pki.amphora_pem(plan.amphora.id),
        vip_nic=Nic(mac=VIP_MAC, network=lab.VIP),
        member_nic=Nic(mac=MEMBER_MAC, network=MEMBERS),
        keepalived=True,
    )


def test_journal_has_no_traceback(amphora: Container) -> None:
    """After all of the above the agent has not been surprised."""
    assert "Traceback" not in amphora.run("journalctl --no-pager --unit amphora-agent")
