# SPDX-License-Identifier: Apache-2.0
"""Metrics of a UDP listener, from what a real kernel said (tests/golden/ipvs)."""

from prometheus_client.parser import text_string_to_metric_families

from amphora_agent import ipvs, lvsconf, lvsmetrics, prometheus
from tests.unit.test_ipvs import GOLDEN, SERVICE, capture
from tests.unit.test_prometheus import SOME, translated

LISTENER = "fa798540-84a1-4763-b4b2-478653351994"
POOL = f"8d88ca49-ec7d-4fec-a3ee-529585b2b7d8:{LISTENER}"
ONE = "a04df448-27dd-48b3-b498-f0fee2bd4224"
TWO = "b1dd2422-b9cb-4e2e-83bc-dd3b0b5d8abe"
CONFIG = lvsconf.parse((GOLDEN / "udp-connect.conf").read_text())


def samples(name: str) -> dict[bytes, bytes]:
    stored = capture(name)
    table = [
        (service, ipvs.destinations(stored.destinations[service.name], service))
        for service in ipvs.services(stored.services)
    ]
    return lvsmetrics.samples({LISTENER: CONFIG}, table)


def lines(found: dict[bytes, bytes]) -> list[str]:
    return b"".join(found.values()).decode().splitlines()


def test_traffic_is_what_the_kernel_counted() -> None:
    """Connections and bytes of listener and pool are those of the service in IPVS."""
    found = lines(samples("both"))

    for owner, label, name in (("listener", "listener", LISTENER), ("pool", "pool", POOL)):
        for suffix, value in (
            ("sessions_total", SERVICE.connections),
            ("bytes_in_total", SERVICE.bytes_in),
            ("bytes_out_total", SERVICE.bytes_out),
            ("current_sessions", 0),
        ):
            assert f'octavia_{owner}_{suffix}{{{label}="{name}"}} {value}' in found


def test_dead_member_is_down() -> None:
    """A member that keepalived took out is DOWN and has no weight; the other one is UP."""
    both, one_dead = lines(samples("both")), lines(samples("one-dead"))

    def state(found: list[str], member: str) -> list[str]:
        start = f'octavia_member_status{{pool="{POOL}",member="{member}",state="'
        return [line[len(start) :] for line in found if line.startswith(start)]

    up = ['DOWN"} 0', 'UP"} 1', 'MAINT"} 0', 'DRAIN"} 0', 'NOLB"} 0']
    assert state(both, ONE) == state(both, TWO) == state(one_dead, ONE) == up
    assert state(one_dead, TWO) == ['DOWN"} 1', *(line.replace("1", "0") for line in up[1:])]
    weight = f'octavia_member_weight{{pool="{POOL}",member="{TWO}"}}'
    assert f"{weight} 1" in both
    assert f"{weight} 0" in one_dead
    assert f'octavia_pool_active_members{{pool="{POOL}"}} 2' in both
    assert f'octavia_pool_active_members{{pool="{POOL}"}} 1' in one_dead


def test_members_have_traffic_as_long_as_they_are_in_ipvs() -> None:
    """Each member has what it served; one that was taken out has no totals, and not zero."""
    both, one_dead = lines(samples("both")), lines(samples("one-dead"))

    for suffix, value in (("sessions_total", 2), ("bytes_in_total", 62), ("bytes_out_total", 62)):
        name = f"octavia_member_{suffix}"
        for member in (ONE, TWO):
            assert f'{name}{{pool="{POOL}",member="{member}"}} {value}' in both
        assert [line for line in one_dead if line.startswith(name)] == [
            f'{name}{{pool="{POOL}",member="{ONE}"}} {value}'
        ]


def test_listener_without_a_service_has_no_traffic() -> None:
    """What IPVS does not have (yet) is not told as 0, which would be taken for a new start."""
    found = lines(lvsmetrics.samples({LISTENER: CONFIG}, []))

    assert any("octavia_listener_status" in line for line in found)
    assert not any("_total" in line for line in found)


def test_samples_stand_with_those_of_haproxy() -> None:
    """Prometheus reads one family of each name, with haproxy's samples and these."""
    more = samples("both")
    pieces = (SOME[at : at + 500] for at in range(0, len(SOME), 500))

    text = b"".join(prometheus.translate(pieces, more)).decode()

    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families) == 142
    # The parser may read a name twice: all of a metric has to stand together.
    assert text.count("# TYPE octavia_listener_bytes_in_total ") == 1
    added = {line for line in text.splitlines()} - {line for line in translated(SOME).splitlines()}
    assert sorted(added) == sorted(lines(more))
    named = [line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"]
    changes = [name for name, before in zip(named, [None, *named], strict=False) if name != before]
    assert len(changes) == len(set(changes))
