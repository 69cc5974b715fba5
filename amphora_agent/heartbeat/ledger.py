# SPDX-License-Identifier: Apache-2.0
"""Traffic that was seen and what of it was sent.

Each look at a source adds what is new to `unsent`; a message that has left takes off what it
carried. So nothing is counted twice, and nothing that was seen is lost when a message could not be
sent or a worker was replaced.

Each line of the file is a whole ledger in JSON, and the last line counts. Version 2: `{"version":
2, "lost": [source, ...], "accounts": {source: {"totals": {worker: {listener id: traffic}},
"unsent": {listener id: traffic}}}}`, where traffic is an array of the counters of `Traffic` in
their order.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from amphora_agent.errors import ParseError
from amphora_agent.heartbeat.observation import Counters, Observation, Traffic, total

_LEDGER_VERSION = 2
_NONE = Traffic()
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Traffic of one source.

    Attributes:
        totals: last counters seen of each worker (`Observation.counters`) that still exists.
        unsent: seen but in no message that has left; never all zero.
    """

    totals: Mapping[str, Counters]
    unsent: Counters


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Traffic of every source.

    Attributes:
        accounts: by name of the source.
        lost: sources whose account was lost (a damaged file). Nobody knows which part of their
            counters was reported already, so the first look only notes where they stand: that
            traffic goes unreported, which is better than reported, and billed, twice.
    """

    accounts: Mapping[str, Account] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()


def observe(
    ledger: Ledger, observations: Iterable[Observation], *, existing: Collection[str]
) -> Ledger:
    """Enter what is new into the ledger.

    A listener that its own source no longer names was deleted, and its account goes with it. A
    source that did not answer keeps its account as long as it exists.

    Args:
        existing: names of all sources there are, whether they answered or not.
    """
    accounts = {name: account for name, account in ledger.accounts.items() if name in existing}
    lost = {name for name in ledger.lost if name in existing}
    for observation in observations:
        name = observation.source
        accounts[name] = _entered(accounts.get(name), observation, lost=name in lost)
        if observation.counters and not observation.silent:
            lost.discard(name)
    return Ledger(accounts=accounts, lost=frozenset(lost))


def settle(ledger: Ledger, observations: Iterable[Observation]) -> Ledger:
    """Take off what a message with these observations carried, once it has left."""
    accounts = dict(ledger.accounts)
    for observation in observations:
        account = accounts[observation.source]
        unsent = {
            listener_id: traffic
            for listener_id, traffic in account.unsent.items()
            if not observation.listeners[listener_id].is_served
        }
        accounts[observation.source] = replace(account, unsent=unsent)
    return Ledger(accounts=accounts, lost=ledger.lost)


def dump(ledger: Ledger) -> bytes:
    """The ledger as a line of its file."""
    text = _ENCODER.encode(
        {
            "version": _LEDGER_VERSION,
            "lost": sorted(ledger.lost),
            "accounts": {
                name: {
                    "totals": {worker: _rows(table) for worker, table in account.totals.items()},
                    "unsent": _rows(account.unsent),
                }
                for name, account in ledger.accounts.items()
            },
        }
    )
    return f"{text}\n".encode()


def load(data: bytes) -> Ledger:
    """Read the text of a ledger's file.

    A last line without its end was cut off. The one before may tell of traffic that has been sent
    since, so that it is no substitute.

    Raises:
        ParseError: the last line is not what `dump` writes.
    """
    before, _, line = data.removesuffix(b"\n").rpartition(b"\n")
    if before and not data.endswith(b"\n"):
        raise ParseError("the counters are damaged", "the last line is cut off")
    try:
        document = json.loads(line)
        if document["version"] != _LEDGER_VERSION:
            raise ParseError("the counters have another format", f"{document['version']!r:.80}")
        return Ledger(
            lost=frozenset(_text(name) for name in document["lost"]),
            accounts={
                name: Account(
                    totals={worker: _table(rows) for worker, rows in account["totals"].items()},
                    unsent=_table(account["unsent"]),
                )
                for name, account in document["accounts"].items()
            },
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ParseError("the counters are damaged", f"{type(exc).__name__}: {exc}") from exc


def _entered(account: Account | None, observation: Observation, *, lost: bool) -> Account:
    before: Mapping[str, Counters] = account.totals if account is not None else {}
    kept = {name: before[name] for name in observation.silent if name in before}
    totals = {**kept, **observation.counters}
    if lost:
        return Account(totals=totals, unsent={})
    new = [account.unsent] if account is not None else []
    for worker, table in observation.counters.items():
        earlier = before.get(worker, {})
        new.append({name: now.since(earlier.get(name, _NONE)) for name, now in table.items()})
    return Account(
        totals=totals,
        unsent={
            name: traffic
            for name, traffic in total(new).items()
            if traffic and name in observation.listeners
        },
    )


def _rows(table: Counters) -> dict[str, list[int]]:
    return {name: [row.bin, row.bout, row.ereq, row.stot] for name, row in table.items()}


def _table(rows: Mapping[str, list[object]]) -> dict[str, Traffic]:
    table = {}
    for name, row in rows.items():
        received, sent, errors, sessions = (_count(value) for value in row)
        table[name] = Traffic(bin=received, bout=sent, ereq=errors, stot=sessions)
    return table


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.80} is not a counter")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not a text")
    return value
