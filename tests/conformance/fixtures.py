# SPDX-License-Identifier: Apache-2.0
"""What the tests of the suite need of the target; whoever runs the suite imports all of it."""

from collections.abc import Iterator

import pytest

from tests.conformance import samples
from tests.conformance.checks import ok
from tests.conformance.target import FIELD_LISTENER, LB, LISTENER, Nic, Target


@pytest.fixture
def no_lb(target: Target) -> Iterator[str]:
    """The load balancer of the tests, which is unknown before and after."""
    yield from _unknown(target, LB)


@pytest.fixture
def no_lvs(target: Target) -> Iterator[str]:
    """The UDP listener of the tests, which is unknown before and after."""
    yield from _unknown(target, LISTENER)


@pytest.fixture
def no_listener(target: Target) -> Iterator[str]:
    """The listener of the tests of API 0.5, which is unknown before and after."""
    yield from _unknown(target, FIELD_LISTENER)


@pytest.fixture
def uploaded(target: Target, no_lb: str) -> bytes:
    """A configuration that was uploaded; nothing runs."""
    config = target.config(no_lb)
    ok(target.ask("PUT", target.haproxy_path(no_lb), config), 202)
    return config


@pytest.fixture(scope="module")
def vip_nic(target: Target) -> Nic:
    """A NIC whose VIP may be plugged."""
    if target.vip_nic is None:
        pytest.skip("this target has no NIC for a VIP")
    return target.vip_nic


@pytest.fixture(scope="module")
def plugged(target: Target, vip_nic: Nic) -> Nic:
    """A NIC whose VIP is plugged."""
    answer = samples.plug_vip(target, vip_nic)
    assert answer.status in {202, 409}, (answer.status, answer.body)
    return vip_nic


def _unknown(target: Target, object_id: str) -> Iterator[str]:
    ok(target.ask("DELETE", f"/1.0/listeners/{object_id}"), 200)
    yield object_id
    ok(target.ask("DELETE", f"/1.0/listeners/{object_id}"), 200)
