# SPDX-License-Identifier: Apache-2.0
"""What doctor makes of health managers, and of an amphora that was asked."""

import datetime
from functools import partial
from ipaddress import ip_address

import pytest

from amphora_controller.amphora.client import Hop
from amphora_controller.amphora.probe import Result
from amphora_controller.doctor import amphorae, managers
from amphora_controller.doctor.amphorae import Way
from amphora_controller.doctor.findings import (
    Check,
    Outcome,
    examined,
)
from amphora_controller.doctor.managers import Owner, Reply, UdpSocket
from amphora_controller.doctor.options import Endpoint
from amphora_controller.doctor.proc_net import entries
from amphora_controller.doctor.questions import Asked, Unverified
from tests.support.doctor_options import outcomes

BIND = Endpoint(ip_address("192.0.2.1"), 5555)
NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)


# Health managers


_FREE = " 00:00000000 00000000     0        0"
TABLE = f"""\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode …
 2050: 010200C0:15B3 00000000:0000 07 00000000:00000240{_FREE} 72915 2 0000000000000000 3
 2051: 00000000:0000 00000000:0000 07 00000000:00000000{_FREE} 72916 2 0000000000000000 0
short line
"""


def test_table_of_the_kernel_is_read() -> None:
    """Address, port, what waits and what was dropped; unbound sockets and other lines are left."""
    (found,) = entries(TABLE)
    assert (found.local, found.inode, found.waiting_bytes, found.dropped) == (BIND, 72915, 576, 3)


def udp_socket(command: str = "python octavia-health-manager", **changes: object) -> UdpSocket:
    """A socket at the usual place."""
    fields: dict[str, object] = {
        "local": BIND,
        "waiting_bytes": (0, 0),
        "dropped": 0,
        "owners": (Owner(pid=1, command=command),) if command else (),
    }
    return UdpSocket(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sockets", "outcome", "words"),
    [
        ([udp_socket()], Outcome.OK, "process 1"),
        ([udp_socket(dropped=5)], Outcome.OK, "5 heartbeats came faster"),
        (
            [udp_socket(local=Endpoint(ip_address("::"), 5555))],
            Outcome.OK,
            "process 1",
        ),
        ([], Outcome.FAILED, "nobody listens there"),
        (
            [udp_socket(local=Endpoint(ip_address("127.0.0.1"), 5555))],
            Outcome.FAILED,
            "only at 127.0.0.1:5555",
        ),
        ([udp_socket("nc -u -l")], Outcome.FAILED, "belongs to nc -u -l"),
        ([udp_socket("")], Outcome.UNKNOWN, "cannot be seen"),
        ([udp_socket(waiting_bytes=(576, 576))], Outcome.FAILED, "does not read"),
        ([udp_socket(waiting_bytes=(576, 0))], Outcome.OK, "process 1"),
    ],
)
def test_local_health_manager(sockets: list[UdpSocket], outcome: Outcome, words: str) -> None:
    """A live one, none, somebody else's and one that hangs are told apart."""
    (note,) = managers.here(BIND, sockets)
    assert (note.outcome, words in note.seen) == (outcome, True), note


def test_silence_of_another_host_proves_nothing() -> None:
    """Only a refusal beside silence is a sign of life; silence alone is unknown."""
    found = {reply: managers.elsewhere(reply).outcome for reply in Reply}
    assert found == {
        Reply.REFUSED: Outcome.FAILED,
        Reply.UNREACHABLE: Outcome.FAILED,
        Reply.LISTENS: Outcome.OK,
        Reply.SILENT: Outcome.UNKNOWN,
    }


# The way to an answer


def asked(*results: Result, unverified: Unverified | None = None) -> Asked:
    """What came of questions."""
    return Asked(at=NOW, results=results, unverified=unverified)


def bad(hop: Hop, message: str = "broken") -> Result:
    """A hop that failed."""
    return Result(hop=hop, well=False, message=message, hint="mend it")


def test_hops_before_the_failure_passed_and_those_behind_it_were_not_reached() -> None:
    """A handshake that fails proves the connection, and nothing of the API."""
    found = {
        way: outcomes(list(amphorae.notes(asked(bad(Hop.CLIENT_CERTIFICATE)), way))) for way in Way
    }
    assert found == {
        Way.TCP: [Outcome.OK],
        Way.AMPHORA: [Outcome.OK],
        Way.CONTROLLER: [Outcome.FAILED],
        Way.CLOCK: [Outcome.SKIPPED],
        Way.API: [Outcome.SKIPPED],
    }


@pytest.mark.parametrize(("ahead_days", "blamed"), [(40, Way.CLOCK), (0, Way.AMPHORA)])
def test_clock_is_blamed_only_if_it_explains_the_refusal(ahead_days: int, blamed: Way) -> None:
    """A certificate that has expired by both clocks is the fault, whatever the clocks are."""
    theirs = NOW - datetime.timedelta(days=ahead_days)
    until = NOW - datetime.timedelta(days=10)
    shown = Unverified(
        clock=theirs, valid_from=until - datetime.timedelta(days=30), valid_until=until
    )
    found = asked(bad(Hop.SERVER_CERTIFICATE, "has expired"), unverified=shown)
    judged = examined(
        [
            Check(hop=way, look=partial(amphorae.notes, found, way), needs=needs)
            for way, needs in ((Way.CLOCK, ()), (Way.AMPHORA, (Way.CLOCK,)))
        ]
    )
    assert [item.hop for item in judged if item.note.outcome is Outcome.FAILED] == [blamed]


def test_files_that_cannot_be_used_leave_all_hops_open() -> None:
    """Without certificates of one's own nothing can be asked."""
    found = asked(bad(Hop.FILES))
    for way in Way:
        assert outcomes(list(amphorae.notes(found, way))) == [Outcome.UNKNOWN]
