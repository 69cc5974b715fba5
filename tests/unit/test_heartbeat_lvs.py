# SPDX-License-Identifier: Apache-2.0
"""UDP and SCTP listeners as a heartbeat reports them."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from amphora_agent.heartbeat import ledger as ledgers
from amphora_agent.heartbeat import lvs
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.heartbeat.observation import Listener, Observation, Traffic
from amphora_agent.ipvs import Destination, Endpoint, Service
from amphora_agent.lvsconf import LvsConfig, Member

LISTENER = "1157e4e2-0000-4000-8000-000000000001"
POOL = "9001d000-0000-4000-8000-000000000001"
MEMBER = "3e3be200-0000-4000-8000-00000000000"


def at(address: str, port: int = 53) -> Endpoint:
    """An endpoint."""
    return Endpoint(address=ip_address(address), port=port)


ONE, TWO = at("198.51.100.1"), at("198.51.100.2")
CONFIG = LvsConfig(
    is_disabled=False,
    pool_id=POOL,
    has_checker=True,
    services=frozenset({("UDP", at("192.0.2.1")), ("UDP", at("2001:db8::1"))}),
    members=(
        Member(id=f"{MEMBER}1", endpoint=ONE),
        Member(id=f"{MEMBER}2", endpoint=TWO),
        Member(id=f"{MEMBER}3", endpoint=None),
    ),
)


def service(address: str = "192.0.2.1", *, count: int = 1, protocol: str = "UDP") -> Service:
    """A virtual server that has counted a little."""
    return Service(
        protocol=protocol,
        endpoint=at(address),
        connections=count,
        bytes_in=count * 10,
        bytes_out=count * 100,
    )


def look(
    table: lvs.Table | None,
    config: LvsConfig = CONFIG,
    *,
    is_restarting: bool = False,
    boot: str = "boot",
    known: frozenset[str] = frozenset(),
) -> Observation:
    """A look at the listener."""
    return lvs.lvs_observation(
        LISTENER, config, table, boot=boot, is_restarting=is_restarting, known=known
    )


def balanced(*members: tuple[Endpoint, int]) -> lvs.Table:
    """A service with these destinations and their weights; each has two open connections."""
    return [
        (
            service(),
            [
                Destination(
                    endpoint=where,
                    weight=weight,
                    active=2,
                    connections=0,
                    bytes_in=0,
                    bytes_out=0,
                )
                for where, weight in members
            ],
        )
    ]


@pytest.mark.parametrize(
    ("table", "has_checker", "is_restarting", "expected"),
    [
        (balanced((ONE, 1), (TWO, 1)), True, False, ("UP", "UP", "UP")),
        (balanced((ONE, 1), (TWO, 1)), False, False, ("UP", "no check", "no check")),
        (balanced((ONE, 0), (TWO, 1)), True, False, ("UP", "DRAIN", "UP")),
        (balanced((ONE, 0), (TWO, 1)), False, False, ("UP", "DRAIN", "no check")),
        (balanced((TWO, 1)), True, False, ("UP", "DOWN", "UP")),
        (balanced((TWO, 1)), True, True, ("UP", "RESTARTING", "UP")),
        (balanced((TWO, 1)), False, False, ("UP", "DOWN", "no check")),
        (balanced(), True, False, ("DOWN", "DOWN", "DOWN")),
        (balanced(), True, True, ("DOWN", "RESTARTING", "RESTARTING")),
        (balanced(), False, False, ("UP", "no check", "no check")),
        ([], True, False, ("DOWN", "DOWN", "DOWN")),
        (None, True, False, ("UP", "RESTARTING", "RESTARTING")),
    ],
)
def test_statuses_follow_the_table_of_the_contract(
    table: lvs.Table | None,
    has_checker: bool,
    is_restarting: bool,
    expected: tuple[str, str, str],
) -> None:
    """Every row of the contract's chapter 2.4; the disabled member is always MAINT."""
    found = look(
        table, replace(CONFIG, has_checker=has_checker), is_restarting=is_restarting
    ).pools[POOL]
    pool, first, second = expected
    assert (found.status, found.members) == (
        pool,
        {f"{MEMBER}1": first, f"{MEMBER}2": second, f"{MEMBER}3": "MAINT"},
    )


def test_pool_without_members_is_up_and_a_disabled_one_is_not_reported() -> None:
    """The listener is there in both cases, as it is without any pool."""
    empty = look(balanced(), replace(CONFIG, members=()))
    assert (empty.pools[POOL].status, empty.pools[POOL].members) == ("UP", {})
    disabled = look(balanced(), replace(CONFIG, pool_id=None, members=()))
    assert (list(disabled.listeners), disabled.pools) == ([LISTENER], {})


def test_all_vips_count_together_and_no_other_service() -> None:
    """Traffic and connections are the sum over the listener's own services."""
    [(own, destinations)] = balanced((ONE, 1))
    table = [
        (own, destinations),
        (service("2001:db8::1", count=5), destinations),
        (service("192.0.2.1", count=9, protocol="SCTP"), destinations),
        (service("192.0.2.99", count=9), destinations),
    ]
    found = look(table)
    assert found.listeners == {LISTENER: Listener(status="OPEN", connections=4)}
    ledger = ledgers.observe(Ledger(), [found], existing={found.source})
    assert ledger.accounts[found.source].unsent == {LISTENER: Traffic(bin=60, bout=600, stot=6)}


def test_services_count_from_zero_after_a_boot_and_after_they_were_made_again() -> None:
    """A larger value after a boot is all new; a smaller one without boot, too."""

    def unsent(first: Observation, second: Observation) -> Traffic:
        ledger = ledgers.observe(Ledger(), [first], existing={first.source})
        ledger = ledgers.settle(ledger, [first])
        ledger = ledgers.observe(ledger, [second], existing={first.source})
        return ledger.accounts[first.source].unsent.get(LISTENER, Traffic())

    def count(value: int, boot: str = "boot") -> Observation:
        return look([(service(count=value), [])], boot=boot)

    assert unsent(count(5), count(7)).stot == 2
    assert unsent(count(5), count(7, "next")).stot == 7
    assert unsent(count(5), count(3)).stot == 3


def test_vip_that_is_removed_leaves_the_counters_of_the_others() -> None:
    """What the remaining VIP counted before is not reported again."""
    both = look([(service(count=5), []), (service("2001:db8::1", count=7), [])])
    ledger = ledgers.settle(ledgers.observe(Ledger(), [both], existing={both.source}), [both])
    one = look([(service(count=6), [])])
    ledger = ledgers.observe(ledger, [one], existing={both.source})
    assert ledger.accounts[both.source].unsent == {LISTENER: Traffic(bin=10, bout=100, stot=1)}


def test_ipvs_that_does_not_answer_costs_no_traffic_and_no_listener() -> None:
    """The listener is reported meanwhile, and later the difference only."""
    first = look([(service(count=5), [])])
    ledger = ledgers.settle(ledgers.observe(Ledger(), [first], existing={first.source}), [first])
    known = frozenset(ledger.accounts[first.source].totals)
    blind = look(None, known=known)
    assert list(blind.listeners) == [LISTENER]
    ledger = ledgers.observe(ledger, [blind], existing={first.source})
    ledger = ledgers.settle(ledger, [blind])
    ledger = ledgers.observe(ledger, [look([(service(count=8), [])])], existing={first.source})
    assert ledger.accounts[first.source].unsent[LISTENER].stot == 3
