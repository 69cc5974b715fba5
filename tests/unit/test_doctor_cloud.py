# SPDX-License-Identifier: Apache-2.0
"""What doctor makes of a cloud."""

import datetime
from ipaddress import ip_address, ip_network

import pytest

from amphora_controller.doctor import cloud
from amphora_controller.doctor.cloud import Clock, Flavor, Image, Network
from amphora_controller.doctor.findings import (
    Outcome,
)
from amphora_controller.doctor.rules import Rule, lets
from tests.support.doctor_options import opts

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)


# Security groups


def rule(**changes: object) -> Rule:
    """A rule that lets everything of IPv4 in."""
    fields: dict[str, object] = {
        "direction": "ingress",
        "ethertype": "IPv4",
        "protocol": None,
        "ports": (None, None),
        "prefix": None,
        "group": None,
        "address_group": None,
    }
    return Rule(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "is_let"),
    [
        (rule(), True),
        (rule(protocol="tcp"), True),
        (rule(protocol="6"), True),
        (rule(protocol="udp"), False),
        (rule(direction="egress"), False),
        (rule(ethertype="IPv6"), False),
        (rule(protocol="tcp", ports=(9443, 9443)), True),
        (rule(protocol="tcp", ports=(9000, 9442)), False),
        (rule(prefix="192.0.2.0/24"), True),
        (rule(prefix="192.0.2.1"), True),
        (rule(prefix="198.51.100.0/24"), False),
        (rule(group="controllers"), True),
        (rule(group="amphorae"), False),
        (rule(address_group="some"), True),
    ],
)
def test_rule_lets_what_it_says(found: Rule, is_let: bool) -> None:
    """Direction, protocol by name or number, ports and the other side all have to fit."""
    assert is_let is lets(
        [found],
        direction="ingress",
        protocol="tcp",
        port=9443,
        peer=ip_address("192.0.2.1"),
        peer_groups={"controllers"},
    )


def test_network_must_be_let_in_whole() -> None:
    """A rule for a part of the management network leaves amphorae out."""

    def let(prefix: str) -> bool:
        return lets(
            [rule(prefix=prefix)],
            direction="ingress",
            protocol="udp",
            port=5555,
            peer=ip_network("192.0.2.0/24"),
            peer_groups=None,
        )

    assert let("192.0.0.0/16")
    assert not let("192.0.2.0/25")


# Images


def image(name: str = "new", **changes: object) -> Image:
    """An image that is well."""
    fields: dict[str, object] = {
        "id": f"id-{name}",
        "name": name,
        "owner": "octavia",
        "status": "active",
        "created_at": NOW,
        "min_disk_gb": 0,
        "min_ram_mb": 0,
    }
    return Image(**{**fields, **changes})  # type: ignore[arg-type]


_OLD = NOW - datetime.timedelta(days=9)
_SMALL = Flavor(name="small", ram_mb=512, disk_gb=2)


@pytest.mark.parametrize(
    ("images", "owner", "outcome", "words"),
    [
        ([image()], "", Outcome.OK, "id-new"),
        ([image("old", created_at=_OLD), image()], "", Outcome.OK, "new (id-new)"),
        ([image("old", created_at=_OLD), image(owner="foe")], "", Outcome.FAILED, "is project foe"),
        ([image("old", created_at=_OLD), image(owner="foe")], "octavia", Outcome.OK, "id-old"),
        ([image(owner="foe")], "octavia", Outcome.FAILED, "new of foe is not"),
        ([image(status="queued")], "", Outcome.FAILED, "new is queued"),
        ([], "", Outcome.FAILED, "no image has the tag amphora"),
        ([image(min_disk_gb=3)], "", Outcome.FAILED, "needs 3 GB"),
        ([image(min_ram_mb=513)], "", Outcome.FAILED, "513 MB"),
    ],
)
def test_image_is_the_one_that_octavia_takes(
    images: list[Image], owner: str, outcome: Outcome, words: str
) -> None:
    """The newest active one with the tag and of the owner decides."""
    said = opts(
        ("amp_image_tag = amphora", f"amp_image_tag = amphora\namp_image_owner_id = {owner}")
    )
    (note,) = cloud.image(images, said, "octavia", _SMALL)
    assert (note.outcome, words in note.seen) == (outcome, True), note


def test_physical_network_needs_no_port_unless_neutron_gives_the_address_away() -> None:
    """On a flat network a host may have an address that is in no pool of Neutron's."""

    def judged(kind: str, last: str) -> Outcome:
        pools = ((ip_address("192.0.2.0"), ip_address(last)),)
        found = Network(id="net", name="mgmt", kind=kind, subnets=("192.0.2.0/24",), pools=pools)
        (note,) = cloud.port(None, None, [found], opts())
        return note.outcome

    assert judged("flat", "192.0.2.0") is Outcome.OK
    assert judged("flat", "192.0.2.1") is Outcome.FAILED
    assert judged("vxlan", "192.0.2.0") is Outcome.FAILED


@pytest.mark.parametrize(
    ("seconds", "words"), [(3600, "3600 s ahead of"), (-3600, "3600 s behind"), (20, "20 s from")]
)
def test_clock_is_compared_with_keystones(seconds: int, words: str) -> None:
    """More than half a minute is told with its direction, less is ok."""
    note = cloud.clock(Clock(there=NOW, here=NOW + datetime.timedelta(seconds=seconds)))
    assert words in note.seen
    assert (note.outcome is Outcome.OK) is (abs(seconds) < 30)
