# SPDX-License-Identifier: Apache-2.0
"""Traffic that was seen and what of it was sent.

Each look at a source adds what is new to `unsent`; a message that has left takes off what it
carried. So nothing is counted twice, and nothing that was seen is lost when a message could not be
sent or a worker was replaced.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields

from amphora_agent.errors import ParseError
from amphora_agent.heartbeat.observation import Observation, Traffic

_LEDGER_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Traffic of one source.

    Attributes:
        worker: who counted `totals`.
        totals: last counters seen, by listener id.
        unsent: seen but in no message that has left, by listener id; never all zero.
    """

    worker: str
    totals: Mapping[str, Traffic]
    unsent: Mapping[str, Traffic]


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
        accounts[observation.source] = Account(
            worker=account.worker, totals=account.totals, unsent=unsent
        )
    return Ledger(accounts=accounts, lost=ledger.lost)


def dump(ledger: Ledger) -> bytes:
    """The ledger as the text of its file."""
    return json.dumps(
        {
            "version": _LEDGER_VERSION,
            "lost": sorted(ledger.lost),
            "accounts": {
                name: {
                    "worker": account.worker,
                    "totals": _traffic_rows(account.totals),
                    "unsent": _traffic_rows(account.unsent),
                }
                for name, account in ledger.accounts.items()
            },
        },
        separators=(",", ":"),
    ).encode()


def load(data: bytes) -> Ledger:
    """Read the text of a ledger's file.

    Raises:
        ParseError: it is not what `dump` writes.
    """
    try:
        document = json.loads(data)
        if document["version"] != _LEDGER_VERSION:
            raise ParseError("the counters have another format", f"{document['version']!r:.80}")
        return Ledger(
            lost=frozenset(_text(name) for name in document["lost"]),
            accounts={
                name: Account(
                    worker=_text(account["worker"]),
                    totals=_traffic_table(account["totals"]),
                    unsent=_traffic_table(account["unsent"]),
                )
                for name, account in document["accounts"].items()
            },
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ParseError("the counters are damaged", f"{type(exc).__name__}: {exc}") from exc


def _entered(account: Account | None, observation: Observation, *, lost: bool) -> Account:
    totals = {name: listener.totals for name, listener in observation.listeners.items()}
    if lost:
        return Account(worker=observation.worker, totals=totals, unsent={})
    earlier: Mapping[str, Traffic] = {}
    unsent: Mapping[str, Traffic] = {}
    if account is not None:
        unsent = account.unsent
        if account.worker == observation.worker:
            earlier = account.totals
    zero = Traffic()
    sums = {
        name: unsent.get(name, zero) + now.since(earlier.get(name, zero))
        for name, now in totals.items()
    }
    return Account(
        worker=observation.worker,
        totals=totals,
        unsent={name: traffic for name, traffic in sums.items() if traffic},
    )


def _traffic_rows(table: Mapping[str, Traffic]) -> dict[str, dict[str, int]]:
    return {
        name: {entry.name: getattr(traffic, entry.name) for entry in fields(Traffic)}
        for name, traffic in table.items()
    }


def _traffic_table(rows: Mapping[str, Mapping[str, object]]) -> dict[str, Traffic]:
    return {
        name: Traffic(**{entry.name: _count(row[entry.name]) for entry in fields(Traffic)})
        for name, row in rows.items()
    }


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.80} is not a counter")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not a text")
    return value
