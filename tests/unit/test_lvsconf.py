# SPDX-License-Identifier: Apache-2.0
"""Configurations of UDP and SCTP listeners, as Octavia renders them, and odd ones."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent import lvsconf
from amphora_agent.ipvs import Endpoint
from amphora_agent.lvsconf import LvsConfig, Member

GOLDEN = Path(__file__).parent.parent / "golden" / "ipvs"
LB = "10adba1a-0000-4000-8000-000000000001"
LISTENER = "1157e4e2-0000-4000-8000-000000000001"
POOL = "9001d000-0000-4000-8000-000000000001"
MEMBER = "3e3be200-0000-4000-8000-00000000000"

DUAL = f"""# Configuration for Loadbalancer {LB}
# Configuration for Listener {LISTENER}

net_namespace amphora-haproxy

virtual_server_group ipv4-group {{
    192.0.2.1 53
    192.0.2.2 53
}}

virtual_server group ipv4-group {{
    lb_algo lc
    lb_kind NAT
    protocol SCTP

    # Configuration for Pool {POOL}
    # Configuration for Member {MEMBER}1
    real_server 198.51.100.1 5300 {{
        weight 1
        uthreshold 100
    }}
    # Member {MEMBER}2 is disabled
}}

virtual_server_group ipv6-group {{
    2001:db8::1 53
}}

virtual_server group ipv6-group {{
    protocol SCTP
    # Configuration for Pool {POOL}
    # Configuration for Member {MEMBER}3
    real_server 2001:db8::9 5300 {{
        weight 0
    }}
}}
"""


def at(address: str, port: int) -> Endpoint:
    """An endpoint."""
    return Endpoint(address=ip_address(address), port=port)


def test_configuration_of_octavia_is_read() -> None:
    """The file that Octavia rendered has its pool, both members and their checks."""
    config = lvsconf.parse((GOLDEN / "udp-connect.conf").read_text())
    assert config == LvsConfig(
        is_disabled=False,
        pool_id="8d88ca49-ec7d-4fec-a3ee-529585b2b7d8",
        has_checker=True,
        services=frozenset({("UDP", at("198.51.100.5", 5300))}),
        members=(
            Member(id="a04df448-27dd-48b3-b498-f0fee2bd4224", endpoint=at("198.51.100.21", 5300)),
            Member(id="b1dd2422-b9cb-4e2e-83bc-dd3b0b5d8abe", endpoint=at("198.51.100.22", 5300)),
        ),
    )


def test_all_vips_of_both_families_are_services() -> None:
    """Each VIP is a service of its own, and members of both families belong to the pool."""
    config = lvsconf.parse(DUAL)
    assert config.services == {
        ("SCTP", at("192.0.2.1", 53)),
        ("SCTP", at("192.0.2.2", 53)),
        ("SCTP", at("2001:db8::1", 53)),
    }
    assert config.members == (
        Member(id=f"{MEMBER}1", endpoint=at("198.51.100.1", 5300)),
        Member(id=f"{MEMBER}2", endpoint=None),
        Member(id=f"{MEMBER}3", endpoint=at("2001:db8::9", 5300)),
    )
    assert (config.pool_id, config.has_checker) == (POOL, False)


def test_virtual_server_without_group_is_a_service() -> None:
    """Controllers before version 2 of load balancers with several VIPs wrote the address itself."""
    config = lvsconf.parse("virtual_server 192.0.2.1 53 {\n    protocol UDP\n}\n")
    assert config.services == {("UDP", at("192.0.2.1", 53))}


@pytest.mark.parametrize(("kind", "is_disabled"), [("Listener", True), ("Pool", False)])
def test_only_the_listeners_own_comment_disables_it(kind: str, is_disabled: bool) -> None:
    """A disabled pool is not reported, and its listener is."""
    config = lvsconf.parse(f"# {kind} {LISTENER} is disabled\n")
    assert (config.is_disabled, config.pool_id) == (is_disabled, None)


@pytest.mark.parametrize("checker", ["MISC_CHECK", "HTTP_GET", "TCP_CHECK"])
def test_checkers_of_octavia_are_known(checker: str) -> None:
    """Every check that Octavia configures counts as one; a word within another does not."""
    assert lvsconf.parse(f"real_server 192.0.2.9 53 {{\n  {checker} {{\n  }}\n}}").has_checker
    assert not lvsconf.parse(f"real_server 192.0.2.9 53 {{\n  x{checker} {{\n  }}\n}}").has_checker


@given(st.text())
def test_any_text_is_a_configuration(text: str) -> None:
    """No text raises: an odd line never takes a listener out of the heartbeat."""
    assert isinstance(lvsconf.parse(text), LvsConfig)


@given(st.lists(st.sampled_from([*DUAL.splitlines(), "}", "virtual_server group x {"])))
def test_lines_in_any_order_are_a_configuration(lines: list[str]) -> None:
    """Nor do lines of a real file in any order."""
    assert isinstance(lvsconf.parse("\n".join(lines)), LvsConfig)
