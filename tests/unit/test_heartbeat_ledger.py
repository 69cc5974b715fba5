# SPDX-License-Identifier: Apache-2.0
"""The traffic ledger and its file."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from amphora_agent.errors import ParseError
from amphora_agent.heartbeat import ledger as ledgers
from amphora_agent.heartbeat.ledger import Account, Ledger
from amphora_agent.heartbeat.observation import Traffic, total
from tests.support.heartbeat_samples import (
    LISTENER,
    SOURCE,
    message_of,
    observation,
    observed,
)


def unsent(ledger: Ledger, name: str = f"{LISTENER}1") -> Traffic:
    """What the next message will say of a listener."""
    return ledger.accounts[SOURCE].unsent.get(name, Traffic())


def test_first_sight_reports_the_whole_counter() -> None:
    """A listener never seen before is reported with everything since its worker's start."""
    whole = Traffic(bin=1, bout=2, ereq=3, stot=4)
    assert unsent(observed(Ledger(), observation({f"{LISTENER}1": whole}))) == whole


def test_sent_traffic_is_not_reported_again() -> None:
    """After a message has left, the next one carries only what came since."""
    first = observation({f"{LISTENER}1": Traffic(bin=10, stot=1)})
    ledger = ledgers.settle(observed(Ledger(), first), [first])
    assert not unsent(ledger)
    again = observed(ledger, first)
    assert not unsent(again)
    more = observed(ledger, observation({f"{LISTENER}1": Traffic(bin=15, stot=2)}))
    assert unsent(more) == Traffic(bin=5, stot=1)


def test_traffic_of_a_failed_message_waits_for_the_next() -> None:
    """What could not be sent is in the next message, together with what is new."""
    ledger = observed(Ledger(), observation({f"{LISTENER}1": Traffic(bin=10)}))
    assert unsent(observed(ledger, observation({f"{LISTENER}1": Traffic(bin=12)}))).bin == 12


def test_new_worker_counts_from_zero_even_past_the_old_value() -> None:
    """A restart is seen by the worker's identity, not by a smaller value: 30 after 20 is 30 new."""
    first = observation({f"{LISTENER}1": Traffic(bin=20)})
    ledger = ledgers.settle(observed(Ledger(), first), [first])
    now = {f"{LISTENER}1": Traffic(bin=30)}
    assert unsent(observed(ledger, observation(now, worker="2@1"))).bin == 30
    assert unsent(observed(ledger, observation(now, worker="1@2"))).bin == 30
    assert unsent(observed(ledger, observation(now))).bin == 10


def test_unsent_traffic_survives_a_new_worker() -> None:
    """What the old worker counted while nothing could be sent is not lost with it."""
    ledger = observed(Ledger(), observation({f"{LISTENER}1": Traffic(bin=20)}))
    ledger = observed(ledger, observation({f"{LISTENER}1": Traffic(bin=3)}, worker="2@2"))
    assert unsent(ledger).bin == 23


@pytest.mark.parametrize("metric", ["bin", "bout", "ereq", "stot"])
def test_counters_set_to_zero_in_a_running_worker_are_all_counted_anew(metric: str) -> None:
    """When any counter of a listener went back, all four count from zero, never below."""
    first = observation({f"{LISTENER}1": Traffic(bin=20, bout=20, ereq=20, stot=20)})
    ledger = ledgers.settle(observed(Ledger(), first), [first])
    cleared = replace(Traffic(bin=21, bout=22, ereq=23, stot=24), **{metric: 19})
    assert unsent(observed(ledger, observation({f"{LISTENER}1": cleared}))) == cleared


def test_paused_listener_keeps_its_account() -> None:
    """A listener that stops serving for a while is not counted twice when it serves again."""
    name = f"{LISTENER}1"
    first = observation({name: Traffic(bin=20)})
    ledger = ledgers.settle(observed(Ledger(), first), [first])
    paused = observation({name: Traffic(bin=25)}, status="PAUSED")
    ledger = ledgers.settle(observed(ledger, paused), [paused])
    assert unsent(ledger).bin == 5
    assert unsent(observed(ledger, observation({name: Traffic(bin=26)}))).bin == 6


def test_deleted_listener_leaves_the_ledger() -> None:
    """A listener that its own worker no longer names is forgotten, its neighbour is not."""
    both = observation({f"{LISTENER}1": Traffic(bin=1), f"{LISTENER}2": Traffic(bin=1)})
    ledger = observed(Ledger(), both)
    ledger = observed(ledger, observation({f"{LISTENER}2": Traffic(bin=1)}, worker="2@2"))
    account = ledger.accounts[SOURCE]
    assert account.totals == {"2@2": {f"{LISTENER}2": Traffic(bin=1)}}
    assert list(account.unsent) == [f"{LISTENER}2"]


def test_source_that_does_not_answer_keeps_its_account_until_it_is_deleted() -> None:
    """A hung haproxy changes nothing in the ledger; a deleted load balancer leaves it."""
    ledger = observed(Ledger(), observation({f"{LISTENER}1": Traffic(bin=7)}))
    assert observed(ledger) == ledger
    assert ledgers.observe(ledger, [], existing=()) == Ledger()


def test_lost_account_starts_from_where_the_counters_stand() -> None:
    """After a damaged file the first look reports no traffic, the second what came since."""
    ledger = observed(
        Ledger(lost=frozenset({SOURCE})), observation({f"{LISTENER}1": Traffic(bin=1000)})
    )
    assert (unsent(ledger), ledger.lost) == (Traffic(), frozenset())
    ledger = observed(ledger, observation({f"{LISTENER}1": Traffic(bin=1001)}))
    assert unsent(ledger).bin == 1


def test_lost_account_waits_for_the_first_look() -> None:
    """A source that does not answer yet stays marked; a deleted one does not."""
    ledger = Ledger(lost=frozenset({SOURCE, "haproxy:gone"}))
    assert observed(ledger).lost == {SOURCE}


def test_last_bytes_of_an_old_worker_are_reported() -> None:
    """What the old worker still serves is counted beside the new one's, and once."""
    name = f"{LISTENER}1"
    first = observation({name: Traffic(bin=20)})
    ledger = ledgers.settle(observed(Ledger(), first), [first])
    both = observation({name: Traffic(bin=3)}, worker="2@2", old={"1@1": {name: Traffic(bin=25)}})
    ledger = observed(ledger, both)
    assert unsent(ledger).bin == 8
    ledger = ledgers.settle(ledger, [both])
    assert not unsent(observed(ledger, both))


def test_old_worker_that_is_silent_once_is_not_counted_again() -> None:
    """Its totals are kept while it exists, and dropped when it is gone."""
    name = f"{LISTENER}1"
    old = {"1@1": {name: Traffic(bin=25)}}
    both = observation({name: Traffic()}, worker="2@2", old=old)
    ledger = ledgers.settle(observed(Ledger(), both), [both])
    silent = observation({name: Traffic()}, worker="2@2", silent={"1@1"})
    ledger = observed(ledger, silent)
    assert not unsent(observed(ledger, both))
    gone = observed(ledger, observation({name: Traffic()}, worker="2@2"))
    assert list(gone.accounts[SOURCE].totals) == ["2@2"]


traffic = st.builds(
    Traffic,
    bin=st.integers(0, 2**40),
    bout=st.integers(0, 2**40),
    ereq=st.integers(0, 9),
    stot=st.integers(0, 999),
)
# What happens between two heartbeats, and whether the second one can be sent.
events = st.lists(
    st.tuples(
        st.sampled_from(
            ["work", "worker restarts", "reload", "sender restarts", "haproxy is silent"]
        ),
        st.lists(traffic, min_size=2, max_size=2),
        st.booleans(),
    ),
    max_size=30,
)


@hypothesis_settings(deadline=None, max_examples=200)
@given(events)
def test_sum_of_reports_is_the_traffic_that_could_be_seen(
    happened: Sequence[tuple[str, Sequence[Traffic], bool]],
) -> None:
    """Over any reloads, restarts and failures, all that was seen is reported once, and no more.

    After a reload the old workers go on serving until the next restart.
    """
    names = [f"{LISTENER}1", f"{LISTENER}2"]
    zeros = dict.fromkeys(names, Traffic())
    ledger, number = Ledger(), 1
    workers: dict[str, dict[str, Traffic]] = {"1@1": dict(zeros)}
    seen: dict[str, dict[str, Traffic]] = {}
    reported = dict(zeros)

    def step(*, is_sent: bool) -> None:
        nonlocal ledger
        current, *old = reversed(workers)
        look = observation(
            dict(workers[current]), worker=current, old={name: dict(workers[name]) for name in old}
        )
        seen.update({name: dict(table) for name, table in workers.items()})
        ledger = observed(ledger, look)
        message = message_of(look, ledger=ledger)
        if is_sent:
            ledger = ledgers.settle(ledger, [look])
            for name, entry in message["listeners"].items():
                stats = entry["stats"]
                reported[name] += Traffic(
                    bin=stats["rx"], bout=stats["tx"], ereq=stats["ereq"], stot=stats["totconns"]
                )

    for event, work, is_sent in happened:
        if event in {"worker restarts", "reload"}:
            number += 1
            if event == "worker restarts":
                workers.clear()
            workers[f"{number}@1"] = dict(zeros)
        elif event == "sender restarts":
            ledger = ledgers.load(ledgers.dump(ledger))
        for table in workers.values():
            for name, new in zip(names, work, strict=True):
                table[name] += new
        if event == "haproxy is silent":
            ledger = observed(ledger)
        else:
            step(is_sent=is_sent)
    step(is_sent=True)
    assert reported == total(seen.values())
    assert not ledger.accounts[SOURCE].unsent


def test_ledger_survives_its_file() -> None:
    """What is written is read back the same, with unsent traffic and lost sources."""
    ledger = Ledger(
        lost=frozenset({"haproxy:x"}),
        accounts={
            SOURCE: Account(
                totals={
                    "7@1795405453": {
                        f"{LISTENER}1": Traffic(bin=1, bout=2, ereq=3, stot=2**64 - 1)
                    },
                    "5@1795405000": {},
                },
                unsent={f"{LISTENER}1": Traffic(bin=1)},
            )
        },
    )
    assert ledgers.load(ledgers.dump(ledger)) == ledger


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"version":2}',
        b'{"version":1,"lost":[],"accounts":{}}',
        b'{"version":2,"lost":[1],"accounts":{}}',
        b'{"version":2,"lost":[],"accounts":[]}',
        b'{"version":2,"lost":[],"accounts":{"a":{"totals":[],"unsent":{}}}}',
        b'{"version":2,"lost":[],"accounts":{"a":{"totals":{"w":{"l":[1]}},"unsent":{}}}}',
        b'{"11111111-1111-4111-8111-111111111111":{"bin":1,"bout":2,"ereq":0,"stot":1}}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_damaged_ledger_is_a_parse_error(text: bytes) -> None:
    """A cut, foreign or hostile file is refused as such; the empty ledger is not."""
    with pytest.raises(ParseError):
        ledgers.load(text)
    assert ledgers.load(ledgers.dump(Ledger())) == Ledger()


def test_last_line_of_the_file_counts() -> None:
    """Earlier lines are of before; a last line that was cut off is damage, and no earlier one."""
    first, second = (
        ledgers.dump(observed(Ledger(), observation({f"{LISTENER}1": Traffic(bin=count)})))
        for count in (1, 2)
    )
    assert ledgers.load(first + second) == ledgers.load(second) != ledgers.load(first)
    for end in range(1, len(second)):
        with pytest.raises(ParseError):
            ledgers.load(first + second[:end])
    # As files were before there were lines.
    assert ledgers.load(second.rstrip(b"\n")) == ledgers.load(second)


@pytest.mark.parametrize("value", ["-1", "1.0", "true", '"1"', "null"])
def test_ledger_with_a_wrong_counter_is_a_parse_error(value: str) -> None:
    """Only whole numbers from 0 are counters."""
    text = '{"version":2,"lost":[],"accounts":{"a":{"unsent":{},"totals":{"w":{"l":[%s,0,0,0]}}}}}'
    assert ledgers.load((text % "1").encode()).accounts["a"].totals["w"]["l"].bin == 1
    with pytest.raises(ParseError):
        ledgers.load((text % value).encode())


@hypothesis_settings(deadline=None)
@given(st.binary(), st.integers(0, 300), st.integers(0, 20))
def test_any_damage_of_the_ledger_is_a_parse_error_or_harmless(
    patch: bytes, position: int, length: int
) -> None:
    """Whatever happened to the file, reading it gives a ledger or ParseError."""
    text = ledgers.dump(observed(Ledger(), observation({f"{LISTENER}1": Traffic(bin=1)})))
    try:
        ledger = ledgers.load(text[:position] + patch + text[position + length :])
    except ParseError:
        return
    assert isinstance(ledger, Ledger)
