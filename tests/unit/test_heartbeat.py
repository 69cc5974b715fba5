# SPDX-License-Identifier: Apache-2.0
"""The heartbeat: message, envelope, traffic ledger, gate and schedule."""

import hashlib
import hmac
import json
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from amphora_agent import showstat
from amphora_agent.errors import ParseError
from amphora_agent.heartbeat import gate, haproxy
from amphora_agent.heartbeat import ledger as ledgers
from amphora_agent.heartbeat import message as messages
from amphora_agent.heartbeat.ledger import Account, Ledger
from amphora_agent.heartbeat.message import Message
from amphora_agent.heartbeat.observation import Listener, Observation, Pool, Traffic
from amphora_agent.showstat import Backend, Frontend, Server, Snapshot, Worker

GOLDEN = Path(__file__).parent.parent / "golden" / "showstat"
LISTENER = "1157e4e2-0000-4000-8000-00000000000"
POOL = "9001d000-0000-4000-8000-00000000000"
MEMBER = "3e3be200-0000-4000-8000-0000000000"
LB_ID = "10adba1a-0000-4000-8000-000000000001"
SOURCE = f"haproxy:{LB_ID}"
AMPHORA_ID = "a1b2c3d4-0000-4000-8000-000000000001"

# A datagram that Octavia 19.0.0 packed and opened, with the key `insecure`.
VECTOR_PACKED = bytes.fromhex(
    "78da9d8fc10ec2200c865f65e12c09db8892ddbdea2e3ec0c6485cdc86021a938577b765347af63f7cf46fdae66765"
    "e3c09a8275655fe97a905c80b8442884f8aa64bb8279f380f1fd01ca69f4c12cc67968acaccce20912a1c892d2a00f"
    "5d78e20e3bb7c753ba099ded4878c323a0e5a8d076597cae830dbfd6b89445c418c1ddad9db62355164f90084596d4"
    "fc11f7d262d8d9cc3dfdb9cee20912a1c8927073b185be1a7d635bd49771d0ade30737655c39"
)
VECTOR_SIGNATURE = b"6345eebffd4ac506090a9f4bfd45aa5b577cc070350535409dd2e6c57ff75457"
VECTOR_KEY = "insecure"
VECTOR_MESSAGE: Message = {
    "id": "a1b2c3d4-0000-4000-8000-000000000001",
    "seq": 67,
    "listeners": {
        "11111111-1111-4111-8111-111111111111": {
            "status": "OPEN",
            "stats": {"tx": 0, "rx": 0, "conns": 0, "totconns": 0, "ereq": 0},
        }
    },
    "pools": {
        "22222222-2222-4222-8222-222222222222:11111111-1111-4111-8111-111111111111": {
            "status": "UP",
            "members": {"33333333-3333-4333-8333-333333333333": "no check"},
        }
    },
    "ver": 3,
}


def opened(data: bytes, key: str) -> Any:
    """Open a datagram by the description of its bytes; AssertionError for a wrong signature."""
    packed, signature = data[:-64], data[-64:]
    assert hmac.new(key.encode(), packed, hashlib.sha256).hexdigest().encode() == signature
    return json.loads(zlib.decompress(packed))


def observation(
    totals: Mapping[str, Traffic], *, worker: str = "1@1", status: str = "OPEN"
) -> Observation:
    """A look at one haproxy that serves these listeners."""
    listeners = {
        name: Listener(status=status, connections=3, totals=total) for name, total in totals.items()
    }
    return Observation(source=SOURCE, worker=worker, listeners=listeners, pools={})


def observed(ledger: Ledger, *looks: Observation) -> Ledger:
    """The ledger after these looks at a source that exists."""
    return ledgers.observe(ledger, looks, existing={SOURCE})


def message_of(*observations: Observation, ledger: Ledger) -> Message:
    """The message with sequence number 5."""
    return messages.build(
        amphora_id=AMPHORA_ID, sequence=5, observations=observations, ledger=ledger
    )


def snapshot(name: str) -> Snapshot:
    """A stored answer of haproxy."""
    return showstat.parse((GOLDEN / f"{name}.txt").read_text(encoding="utf-8"))


def large_message(*, listeners: int, pools: int, members: int) -> Message:
    """A message with random ids; `members` in each pool."""
    stats: messages.ListenerStats = {"tx": 1, "rx": 2, "conns": 3, "totconns": 4, "ereq": 5}
    ids = [str(uuid.uuid4()) for _ in range(listeners)]
    return {
        "id": AMPHORA_ID,
        "seq": 1,
        "ver": 3,
        "listeners": {name: {"status": "OPEN", "stats": stats} for name in ids},
        "pools": {
            f"{uuid.uuid4()}:{ids[index % listeners]}": {
                "status": "UP",
                "members": {str(uuid.uuid4()): "UP" for _ in range(members)},
            }
            for index in range(pools)
        },
    }


# Envelope


def test_opener_opens_what_octavia_packed() -> None:
    """The opener of these tests reads the datagram that Octavia made, so it may judge ours."""
    assert opened(VECTOR_PACKED + VECTOR_SIGNATURE, VECTOR_KEY) == VECTOR_MESSAGE


def test_encode_carries_the_message_of_the_vector() -> None:
    """Our datagram of the vector's message opens with the same key to the same message."""
    data = messages.encode(VECTOR_MESSAGE, key=VECTOR_KEY)
    assert opened(data, VECTOR_KEY) == VECTOR_MESSAGE


def test_encode_signs_with_lower_case_hex_over_the_packed_bytes() -> None:
    """The last 64 bytes are lower-case hex; another key changes them alone."""
    data = messages.encode(VECTOR_MESSAGE, key=VECTOR_KEY)
    other = messages.encode(VECTOR_MESSAGE, key="insecurf")
    assert set(data[-64:]) <= set(b"0123456789abcdef")
    assert (data[:-64], data[-64:] == other[-64:]) == (other[:-64], False)
    with pytest.raises(AssertionError):
        opened(data, "insecurf")


def test_encode_takes_a_key_outside_ascii() -> None:
    """The key is its UTF-8 bytes."""
    assert opened(messages.encode(VECTOR_MESSAGE, key="schlüssel"), "schlüssel")["seq"] == 67


def test_fit_changes_nothing_that_fits() -> None:
    """A message of usual size goes out whole."""
    message = large_message(listeners=2, pools=2, members=10)
    data, left_out = messages.fit(message, key="k")
    assert (opened(data, "k"), left_out) == (message, "")


def test_fit_leaves_members_out_before_pools_and_never_a_listener() -> None:
    """A message too large for a datagram loses its members, then its pools, no listener."""
    many_members = large_message(listeners=100, pools=100, members=40)
    data, left_out = messages.fit(many_members, key="k")
    small = opened(data, "k")
    assert left_out == "members"
    assert len(data) <= messages.DATAGRAM_MAX < len(messages.encode(many_members, key="k"))
    assert small["listeners"] == many_members["listeners"]
    assert small["pools"].keys() == many_members["pools"].keys()
    assert all(pool == {"status": "UP", "members": {}} for pool in small["pools"].values())

    data, left_out = messages.fit(many_members, key="k", limit=len(data) - 1)
    small = opened(data, "k")
    assert left_out == "pools"
    assert (small["listeners"], small["pools"]) == (many_members["listeners"], {})


# Message


def test_message_reports_exactly_the_served_listeners() -> None:
    """Of the real answer the five listeners are reported, and not the exporter's frontend."""
    look = haproxy.haproxy_observation(LB_ID, snapshot("haproxy-2.6-traffic"))
    message = message_of(look, ledger=observed(Ledger(), look))
    assert list(message["listeners"]) == [LISTENER + c for c in "12345"]
    assert message["listeners"][f"{LISTENER}1"] == {
        "status": "OPEN",
        "stats": {"tx": 595, "rx": 520, "conns": 0, "totconns": 6, "ereq": 1},
    }


def test_message_reports_pools_by_pool_and_listener() -> None:
    """A shared pool appears once for each listener; the exporter's backend does not appear."""
    look = haproxy.haproxy_observation(LB_ID, snapshot("haproxy-2.6-traffic"))
    pools = message_of(look, ledger=observed(Ledger(), look))["pools"]
    assert pools == {
        f"{POOL}1:{LISTENER}1": {
            "status": "UP",
            "members": {
                f"{MEMBER}01": "UP",
                f"{MEMBER}02": "DOWN",
                f"{MEMBER}03": "DRAIN",
                f"{MEMBER}04": "MAINT",
            },
        },
        f"{POOL}1:{LISTENER}3": pools[f"{POOL}1:{LISTENER}1"],
        f"{POOL}2:{LISTENER}2": {
            "status": "UP",
            "members": {
                f"{MEMBER}05": "no check",
                f"{MEMBER}06": "no check",
                f"{MEMBER}10": "no check",
            },
        },
        f"{POOL}3:{LISTENER}4": {"status": "UP", "members": {}},
        f"{POOL}4:{LISTENER}4": {
            "status": "DOWN",
            "members": {f"{MEMBER}07": "MAINT", f"{MEMBER}08": "MAINT"},
        },
    }


def test_message_without_load_balancer_is_complete() -> None:
    """An amphora that serves nothing yet sends empty listeners and pools, and both are there."""
    message = message_of(ledger=Ledger())
    assert message == {"id": AMPHORA_ID, "seq": 5, "ver": 3, "listeners": {}, "pools": {}}


def test_message_joins_several_load_balancers() -> None:
    """Listeners of two haproxies stand in one message, each with its own traffic."""
    first = observation({f"{LISTENER}1": Traffic(bin=1)})
    second = replace(observation({f"{LISTENER}2": Traffic(bin=2)}), source="haproxy:other")
    looks = [first, second]
    ledger = ledgers.observe(Ledger(), looks, existing={SOURCE, "haproxy:other"})
    listeners = message_of(*looks, ledger=ledger)["listeners"]
    assert {name: entry["stats"]["rx"] for name, entry in listeners.items()} == {
        f"{LISTENER}1": 1,
        f"{LISTENER}2": 2,
    }


@pytest.mark.parametrize(
    ("status", "weight", "reported"),
    [
        ("UP", 0, "DRAIN"),
        ("UP", 1, "UP"),
        ("UP 1/3", 0, "UP 1/3"),
        ("UP 1/3", 5, "UP 1/3"),
        ("DOWN", 0, "DOWN"),
        ("DOWN 1/2", 1, "DOWN 1/2"),
        ("no check", 0, "no check"),
        ("DRAIN", 1, "DRAIN"),
        ("DRAIN (agent)", 1, "DRAIN"),
        ("MAINT", 1, "MAINT"),
        ("MAINT (resolution)", 1, "MAINT"),
    ],
)
def test_member_status_is_a_word_of_the_controller(status: str, weight: int, reported: str) -> None:
    """Only exactly UP with weight 0 turns into DRAIN, and reasons in parentheses go."""
    server = Server(name=f"{MEMBER}01", status=status, weight=weight)
    backend = Backend(name=f"{POOL}1:{LISTENER}1", status="UP", servers=(server,))
    worker = Worker(pid=1, started_s=1)
    look = haproxy.haproxy_observation(
        LB_ID, Snapshot(worker=worker, frontends=(), backends=(backend,))
    )
    assert look.pools == {backend.name: Pool(status="UP", members={f"{MEMBER}01": reported})}


@pytest.mark.parametrize(
    "name",
    [
        "prometheus-exporter-internal-endpoint",
        "stats",
        "",
        f"{LISTENER}1x",
        f"{LISTENER}1\n",
        f"{LISTENER}",
        f"prometheus{LISTENER}1",
        f"{POOL}1:{LISTENER}1",
    ],
)
def test_name_that_is_no_uuid_is_no_listener(name: str) -> None:
    """A frontend of any other name is not reported; one with a UUID is."""
    frontend = Frontend(
        name=name,
        status="OPEN",
        sessions=0,
        bytes_in=0,
        bytes_out=0,
        request_errors=0,
        sessions_total=0,
    )
    frontends = (frontend, replace(frontend, name=f"{LISTENER}1"))
    look = haproxy.haproxy_observation(
        LB_ID,
        Snapshot(worker=Worker(pid=1, started_s=1), frontends=frontends, backends=()),
    )
    assert list(look.listeners) == [f"{LISTENER}1"]


def test_backend_and_server_of_other_names_are_not_reported() -> None:
    """Only `<uuid>:<uuid>` is a pool and only a UUID a member."""
    good = Server(name=f"{MEMBER}01", status="UP", weight=1)
    servers = (good, replace(good, name="prometheus-internal"))
    backends = tuple(
        Backend(name=name, status="UP", servers=servers)
        for name in (f"{POOL}1:{LISTENER}1", f"{POOL}1", "x:y", "prometheus-exporter-internal")
    )
    look = haproxy.haproxy_observation(
        LB_ID,
        Snapshot(worker=Worker(pid=1, started_s=1), frontends=(), backends=backends),
    )
    assert {name: list(pool.members) for name, pool in look.pools.items()} == {
        f"{POOL}1:{LISTENER}1": [good.name]
    }


@pytest.mark.parametrize(
    ("status", "is_reported"),
    [("OPEN", True), ("FULL", True), ("STOP", False), ("PAUSED", False), ("", False)],
)
def test_listener_that_accepts_nothing_is_not_reported(status: str, is_reported: bool) -> None:
    """Only OPEN and FULL count as served."""
    look = observation({f"{LISTENER}1": Traffic(bin=9)}, status=status)
    message = message_of(look, ledger=observed(Ledger(), look))
    assert bool(message["listeners"]) is is_reported


# Traffic


def unsent(ledger: Ledger, name: str = f"{LISTENER}1") -> Traffic:
    """What the next message will say of a listener."""
    return ledger.accounts[SOURCE].unsent.get(name, Traffic())


def test_first_sight_reports_the_whole_counter() -> None:
    """A listener never seen before is reported with everything since its worker's start."""
    total = Traffic(bin=1, bout=2, ereq=3, stot=4)
    assert unsent(observed(Ledger(), observation({f"{LISTENER}1": total}))) == total


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
    assert (list(account.totals), list(account.unsent)) == ([f"{LISTENER}2"], [f"{LISTENER}2"])


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
        st.sampled_from(["work", "worker restarts", "sender restarts", "haproxy is silent"]),
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
    """Over any restarts and failures, all that was ever seen is reported once, and no more."""
    names = [f"{LISTENER}1", f"{LISTENER}2"]
    ledger, worker = Ledger(), 1
    counters = dict.fromkeys(names, Traffic())
    seen_of_worker = dict.fromkeys(names, Traffic())
    seen_of_former_workers = dict.fromkeys(names, Traffic())
    reported = dict.fromkeys(names, Traffic())

    def step(*, is_sent: bool) -> None:
        nonlocal ledger
        look = observation(counters, worker=f"{worker}@1")
        seen_of_worker.update(counters)
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
        if event == "worker restarts":
            for name in names:
                seen_of_former_workers[name] += seen_of_worker[name]
            seen_of_worker = dict.fromkeys(names, Traffic())
            counters = dict.fromkeys(names, Traffic())
            worker += 1
        elif event == "sender restarts":
            ledger = ledgers.load(ledgers.dump(ledger))
        counters = {name: counters[name] + new for name, new in zip(names, work, strict=True)}
        if event == "haproxy is silent":
            ledger = observed(ledger)
        else:
            step(is_sent=is_sent)
    step(is_sent=True)
    assert reported == {name: seen_of_former_workers[name] + seen_of_worker[name] for name in names}
    assert not ledger.accounts[SOURCE].unsent


# The ledger's file


def test_ledger_survives_its_file() -> None:
    """What is written is read back the same, with unsent traffic and lost sources."""
    ledger = Ledger(
        lost=frozenset({"haproxy:x"}),
        accounts={
            SOURCE: Account(
                worker="7@1795405453",
                totals={f"{LISTENER}1": Traffic(bin=1, bout=2, ereq=3, stot=2**64 - 1)},
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
        b'{"version":1}',
        b'{"version":2,"lost":[],"accounts":{}}',
        b'{"version":1,"lost":[1],"accounts":{}}',
        b'{"version":1,"lost":[],"accounts":[]}',
        b'{"version":1,"lost":[],"accounts":{"a":{"worker":1,"totals":{},"unsent":{}}}}',
        b'{"version":1,"lost":[],"accounts":{"a":{"worker":"w","totals":{"l":{}},"unsent":{}}}}',
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


@pytest.mark.parametrize("value", ["-1", "1.0", "true", '"1"', "null"])
def test_ledger_with_a_wrong_counter_is_a_parse_error(value: str) -> None:
    """Only whole numbers from 0 are counters."""
    text = '{"version":1,"lost":[],"accounts":{"a":{"worker":"w","unsent":{},"totals":{"l":%s}}}}'
    counters = '{"bin":%s,"bout":0,"ereq":0,"stot":0}'
    assert ledgers.load((text % (counters % "1")).encode()).accounts["a"].totals["l"].bin == 1
    with pytest.raises(ParseError):
        ledgers.load((text % (counters % value)).encode())


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


# Gate and schedule


@pytest.mark.parametrize(
    ("pid_text", "process_stat", "fault"),
    [
        ("12\n", "12 (keepalived) S 1 12", ""),
        ("12", "12 (keepalived_vrrp) R 1 12", ""),
        (None, None, "its pid file is missing"),
        ("", None, "its pid file holds no process id"),
        ("-1", None, "its pid file holds no process id"),
        ("twelve", None, "its pid file holds no process id"),
        ("9" * 30, None, "its pid file holds no process id"),
        ("12", None, "process 12 does not exist"),
        ("12", "12 (keepalived) Z 1 12", "process 12 has ended"),
        ("12", "12 (sshd) S 1 12", "process 12 is 'sshd'"),
        ("12", "12 (a (keepalived) S) S 1", "process 12 is 'a (keepalived) S'"),
    ],
)
def test_gate_opens_only_for_a_live_keepalived(
    pid_text: str | None, process_stat: str | None, fault: str
) -> None:
    """A missing file, a dead process or a foreign one with the same number closes the gate."""
    assert gate.keepalived_fault(pid_text, process_stat) == fault


@pytest.mark.parametrize(
    ("now_s", "due_s"),
    [(100.0, 110.0), (100.7, 110.0), (109.9, 110.0), (110.0, 120.0), (147.0, 150.0)],
)
def test_next_heartbeat_stays_on_its_grid(now_s: float, due_s: float) -> None:
    """The time a heartbeat takes does not move the next one, and missed ones are not made up."""
    assert gate.next_due(100.0, now_s=now_s, interval_s=10.0) == due_s


@given(st.floats(0, 1e6), st.floats(0, 1e5), st.floats(0.05, 86400))
def test_next_heartbeat_is_in_the_future_within_one_interval(
    due_s: float, late_s: float, interval_s: float
) -> None:
    """However late a heartbeat was, the next is due after now and at most an interval away."""
    now_s = due_s + late_s
    following_s = gate.next_due(due_s, now_s=now_s, interval_s=interval_s)
    assert now_s - 1e-6 <= following_s <= now_s + interval_s + 1e-6
