# SPDX-License-Identifier: Apache-2.0
"""The real heartbeat sender as a process, with the real haproxy, judged by Octavia's own code.

All traffic stays on loopback. Time is counted in heartbeats and in the sender's own reports to
systemd (its notify socket), never by a clock.
"""

import os
import signal
import socket
import subprocess
from contextlib import ExitStack
from typing import Any

from tests.support import need, waiting
from tests.support.heartbeat_lab import (
    AMPHORA_ID,
    DEADLINE_S,
    LB,
    MEMBER,
    REFUSED,
    Amphora,
    Opener,
    Reported,
    StartHaproxy,
    health_manager,
)
from tests.support.heartbeats import Listener


def test_heartbeat_without_listeners_is_accepted_by_octavia(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """An amphora that serves nothing sends version 3 with empty listeners, counted from 0."""
    listener, entry = manager
    amphora.configure([entry])
    amphora.start()
    first, second = listener.wait_for(2, deadline_s=DEADLINE_S)[:2]
    empty = {"id": AMPHORA_ID, "ver": 3, "listeners": {}, "pools": {}}
    assert octavia.message(first.payload) == {**empty, "seq": 0}
    assert octavia.message(second.payload) == {**empty, "seq": 1}


def test_heartbeat_with_another_key_is_refused_by_octavia(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """The same datagram is opened with the right key and refused with a wrong one."""
    listener, entry = manager
    amphora.configure([entry])
    amphora.start()
    datagram = listener.next(deadline_s=DEADLINE_S).payload
    assert octavia.message(datagram)["id"] == AMPHORA_ID
    assert octavia.answer(datagram, "another key") == {"error": "InvalidHMACException"}


def test_listener_pool_and_members_are_reported_as_they_are(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """One listener, its pool, three members in their states; the exporter's frontend is missing."""
    listener, entry = manager
    amphora.configure([entry])
    with socket.create_server(("127.0.0.1", 0)) as member, ExitStack() as stack:
        address = f"127.0.0.1:{member.getsockname()[1]}"
        haproxy = start_haproxy(
            1,
            f"    server {MEMBER}01 {address} weight 1\n"
            f"    server {MEMBER}02 {address} weight 0 check\n"
            f"    server {MEMBER}03 {address} weight 1 disabled\n",
        )
        stack.enter_context(socket.create_connection(("127.0.0.1", haproxy.port)))
        amphora.start()

        def connected() -> Any:
            message = octavia.message(listener.next(deadline_s=DEADLINE_S).payload)
            found = message["listeners"][haproxy.listener]["stats"]["conns"]
            return message if found >= 1 else None

        message = waiting.until("a connection", connected, deadline_s=DEADLINE_S, every_s=0)
    assert list(message["listeners"]) == [haproxy.listener]
    assert message["listeners"][haproxy.listener]["status"] == "OPEN"
    assert message["pools"] == {
        haproxy.pool: {
            "status": "UP",
            "members": {
                f"{MEMBER}01": "no check",
                f"{MEMBER}02": "DRAIN",
                f"{MEMBER}03": "MAINT",
            },
        }
    }


def test_traffic_is_reported_once_over_reload_and_restarts(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """The sum of all reports is the number of requests, over a reload that overtakes the old value
    and over a restart of the sender, and further heartbeats add nothing.
    """
    listener, entry = manager
    haproxy = start_haproxy(1)
    reported = Reported(listener, octavia, haproxy.listener)
    amphora.configure([entry])
    sender = amphora.start()
    haproxy.serve(3)
    reported.await_sessions(3)
    haproxy.reload()
    haproxy.serve(5)
    reported.await_sessions(8)
    sender.send_signal(signal.SIGTERM)
    assert sender.wait(timeout=DEADLINE_S) == 0
    haproxy.serve(2)
    amphora.start()
    reported.await_sessions(10)
    amphora.beats(3)
    assert reported.sessions() == 10


def test_last_traffic_of_a_replaced_worker_is_reported(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """Requests that came after the last look and before a reload are reported all the same."""
    listener, entry = manager
    haproxy = start_haproxy(1)
    reported = Reported(listener, octavia, haproxy.listener)
    amphora.configure([entry], interval="1")
    amphora.start()
    for _ in range(3):
        listener.next(deadline_s=DEADLINE_S)
        haproxy.serve(4)
        haproxy.reload()
        haproxy.serve(1)
    reported.await_sessions(15)
    amphora.beats(2)
    assert reported.sessions() == 15


def test_long_connection_of_an_old_worker_is_reported(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """Bytes that pass through an old worker long after the reload count, and so does its client."""
    listener, entry = manager
    with socket.create_server(("127.0.0.1", 0)) as member, ExitStack() as stack:
        haproxy = start_haproxy(1, tcp_member=member.getsockname()[1])
        amphora.configure([entry], interval="0.5")
        amphora.start()
        client = stack.enter_context(socket.create_connection(("127.0.0.1", haproxy.port)))
        served, _ = member.accept()
        stack.enter_context(served)
        for _ in range(2):
            amphora.beats(1)
            haproxy.replace_worker()
        amphora.beats(2)
        seen = len(listener.received())
        client.sendall(b"x" * 1234)
        assert len(served.recv(1234, socket.MSG_WAITALL)) == 1234

        def told() -> list[tuple[int, int]]:
            entries = [
                octavia.message(item.payload)["listeners"][haproxy.listener]["stats"]
                for item in listener.received()[seen:]
            ]
            return [(row["conns"], row["rx"]) for row in entries]

        amphora.beats(2)
        assert told()
        assert set(told()) == {(1, 0)}
        # haproxy counts the bytes of a connection at its end, and the old worker ends with it.
        client.close()
        served.close()
        waiting.until(
            "the bytes",
            lambda: told()[-1] == (0, 0) or None,
            deadline_s=DEADLINE_S,
            every_s=0.1,
        )
        assert sum(rx for _conns, rx in told()) == 1234


def test_traffic_that_could_not_be_sent_is_in_the_next_heartbeat(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """What the kernel refused is reported later, though sender and worker restarted meanwhile."""
    listener, entry = manager
    haproxy = start_haproxy(1)
    reported = Reported(listener, octavia, haproxy.listener)
    amphora.configure([REFUSED])
    sender = amphora.start()
    haproxy.serve(4)
    statuses = amphora.beats(2)
    assert all("could not be sent" in status for status in statuses)
    sender.send_signal(signal.SIGTERM)
    sender.wait(timeout=DEADLINE_S)
    haproxy.reload()
    haproxy.serve(1)
    amphora.start()
    amphora.beats(2)
    amphora.configure([entry])
    reported.await_sessions(5)
    # Each sender says it once, not at each heartbeat.
    assert amphora.journal().count("255.255.255.255 port 5555") == 2


def test_bad_entry_hides_no_other(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """With a refused and a nonsense entry in the list every period still has a heartbeat."""
    listener, entry = manager
    amphora.configure([REFUSED, "nonsense", entry])
    amphora.start()
    received = listener.wait_for(4, deadline_s=DEADLINE_S)
    assert [octavia.message(item.payload)["seq"] for item in received[:4]] == [0, 1, 2, 3]
    assert "'nonsense' is ignored" in amphora.journal()


def test_each_heartbeat_goes_to_one_controller_in_turn(amphora: Amphora, octavia: Opener) -> None:
    """Two controllers, one on IPv6, hear every second message; none hears the other's."""
    with health_manager() as (first, first_entry), health_manager("::1") as (second, second_entry):
        amphora.configure([first_entry, second_entry])
        sender = amphora.start()
        first.wait_for(3, deadline_s=DEADLINE_S)
        second.wait_for(3, deadline_s=DEADLINE_S)
        sender.send_signal(signal.SIGTERM)
        sender.wait(timeout=DEADLINE_S)
        numbers = [
            [octavia.message(item.payload)["seq"] for item in ear.received()]
            for ear in (first, second)
        ]
    assert numbers[0][:3] == [0, 2, 4]
    assert numbers[1][:3] == [1, 3, 5]


def test_hung_haproxy_holds_up_neither_heartbeats_nor_other_load_balancers(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """A stopped worker is not reported, its neighbour is, and it comes back when it answers."""
    listener, entry = manager
    hung, fine = start_haproxy(1), start_haproxy(2)
    worker = hung.await_worker()
    amphora.configure([entry], interval="0.4")
    os.kill(worker, signal.SIGSTOP)
    try:
        amphora.start()
        amphora.await_journal(f"load balancer {hung.lb_id} is not reported")
        last = octavia.message(listener.next(deadline_s=DEADLINE_S).payload)
        assert list(last["listeners"]) == [fine.listener]
    finally:
        os.kill(worker, signal.SIGCONT)
    amphora.await_journal(f"load balancer {hung.lb_id} is reported again")
    last = octavia.message(listener.next(deadline_s=DEADLINE_S).payload)
    assert sorted(last["listeners"]) == [hung.listener, fine.listener]


def test_stopped_load_balancer_is_not_reported_and_stops_nothing(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """A configuration whose haproxy does not run gives a heartbeat without its listeners."""
    listener, entry = manager
    (amphora.base / f"{LB}1").mkdir()
    (amphora.base / f"{LB}1" / "haproxy.cfg").write_text("global\n")
    amphora.configure([entry])
    amphora.start()
    assert octavia.message(listener.next(deadline_s=DEADLINE_S).payload)["listeners"] == {}
    amphora.beats(3)
    assert amphora.journal().count(f"load balancer {LB}1 is not reported") == 1


def test_dead_keepalived_silences_the_heartbeat(
    amphora: Amphora, manager: tuple[Listener, str]
) -> None:
    """With its configuration there, heartbeats flow exactly while keepalived's process lives."""
    need.programs("sleep")
    listener, entry = manager
    vrrp = amphora.base / "vrrp"
    vrrp.mkdir()
    (vrrp / "octavia-keepalived.conf").write_text("")
    amphora.configure([entry])
    amphora.start()
    assert all("keepalived is configured" in status for status in amphora.beats(3))
    assert listener.received() == []

    # The kernel names a process after the file that it runs.
    program = amphora.base / "keepalived"
    sleep = subprocess.run(["which", "sleep"], check=True, capture_output=True, text=True)
    program.symlink_to(sleep.stdout.strip())
    with subprocess.Popen([program, "600"]) as keepalived:
        try:
            (vrrp / "octavia-keepalived.pid").write_text(f"{keepalived.pid}\n")
            listener.wait_for(2, deadline_s=DEADLINE_S)
        finally:
            keepalived.kill()
    amphora.await_journal(f"(process {keepalived.pid} does not exist)")
    heard = len(listener.received())
    amphora.beats(3)
    assert len(listener.received()) == heard
    assert amphora.journal().count("no heartbeat is sent") == 2

    # A process of another program that has got the number opens nothing.
    (vrrp / "octavia-keepalived.pid").write_text(f"{os.getpid()}\n")
    amphora.beats(2)
    assert len(listener.received()) == heard


def test_missing_configuration_is_waited_for(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """The sender is ready at once, names the missing file, and starts when it is there."""
    listener, entry = manager
    amphora.start()
    assert "READY=1" in amphora.systemd.hear()
    amphora.await_journal(f"{amphora.config} is missing")
    amphora.config.write_text("[amphora_agent]\namphora_id = nonsense\n")
    amphora.await_journal("amphora_id")
    assert listener.received() == []
    amphora.configure([entry])
    assert octavia.message(listener.next(deadline_s=DEADLINE_S).payload)["seq"] == 0


def test_broken_configuration_keeps_the_last_good_one(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """A file that breaks is named once and heartbeats go on; the next good one is taken at once."""
    listener, entry = manager
    amphora.configure([entry])
    amphora.start()
    listener.next(deadline_s=DEADLINE_S)
    amphora.configure([entry], interval="soon")
    amphora.await_journal("heartbeat_interval")
    statuses = amphora.beats(3)
    assert all(f"to {entry}" in status for status in statuses)
    assert amphora.journal().count("heartbeat_interval") == 1
    amphora.configure([entry], key="new-key")
    waiting.until(
        "a heartbeat with the new key",
        lambda: octavia.answer(listener.next(deadline_s=DEADLINE_S).payload, "new-key").get(
            "message"
        ),
        deadline_s=DEADLINE_S,
        every_s=0,
    )


def test_reload_signal_reads_the_configuration_at_once(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """After SIGHUP a new interval and key are in force, though the old period is an hour."""
    listener, entry = manager
    amphora.configure([entry], interval="3600")
    sender = amphora.start()
    listener.next(deadline_s=DEADLINE_S)
    amphora.configure([entry], interval="0.1", key="new-key")
    sender.send_signal(signal.SIGHUP)
    latest = listener.wait_for(3, deadline_s=DEADLINE_S)[2]
    assert octavia.message(latest.payload, "new-key")["seq"] == 2


def test_without_key_nothing_is_sent(amphora: Amphora, manager: tuple[Listener, str]) -> None:
    """An unset key is said once; with a key, heartbeats start by themselves."""
    listener, entry = manager
    amphora.configure([entry], key=None)
    amphora.start()
    assert all("heartbeat_key is not set" in status for status in amphora.beats(3))
    assert listener.received() == []
    assert amphora.journal().count("heartbeat_key is not set") == 1
    amphora.configure([entry])
    listener.next(deadline_s=DEADLINE_S)


def test_stop_signal_ends_the_sender_within_its_period(
    amphora: Amphora, manager: tuple[Listener, str]
) -> None:
    """SIGTERM ends it with status 0 and word to systemd, though the period is an hour."""
    listener, entry = manager
    amphora.configure([entry], interval="3600")
    sender = amphora.start()
    listener.next(deadline_s=DEADLINE_S)
    sender.send_signal(signal.SIGTERM)
    assert sender.wait(timeout=DEADLINE_S) == 0
    assert amphora.systemd.hear_until("STOPPING=1")


def test_stop_signal_does_not_wait_for_a_hung_haproxy(
    amphora: Amphora, manager: tuple[Listener, str]
) -> None:
    """While haproxy takes its time, SIGTERM ends the sender before that time is up."""
    listener, entry = manager
    directory = amphora.base / f"{LB}1"
    directory.mkdir()
    (directory / "haproxy.cfg").write_text("")
    amphora.configure([entry], interval="10")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(amphora.base / f"{LB}1.sock"))
        silent.listen()
        sender = amphora.start()
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(1)
            sender.send_signal(signal.SIGTERM)
            assert sender.wait(timeout=DEADLINE_S) == 0
    # Both would have followed on the end of haproxy's time.
    assert "is not reported" not in amphora.journal()
    assert listener.received() == []


def test_watchdog_is_fed_between_heartbeats(
    amphora: Amphora, manager: tuple[Listener, str]
) -> None:
    """With a period of an hour systemd still hears every third of its watchdog time."""
    listener, entry = manager
    amphora.configure([entry], interval="3600")
    amphora.start(WATCHDOG_USEC="300000")
    listener.next(deadline_s=DEADLINE_S)
    amphora.systemd.forget()
    assert [amphora.systemd.hear() for _ in range(3)] == ["WATCHDOG=1"] * 3
    assert len(listener.received()) == 1


def test_damaged_counters_are_kept_aside_and_nothing_is_billed_twice(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """After the file was damaged only new requests are reported, and the old file is kept."""
    listener, entry = manager
    haproxy = start_haproxy(1)
    reported = Reported(listener, octavia, haproxy.listener)
    amphora.configure([entry])
    sender = amphora.start()
    haproxy.serve(6)
    reported.await_sessions(6)
    sender.send_signal(signal.SIGTERM)
    sender.wait(timeout=DEADLINE_S)
    amphora.counters.write_bytes(amphora.counters.read_bytes()[:-20])
    amphora.start()
    amphora.beats(2)
    haproxy.serve(1)
    reported.await_sessions(7)
    assert amphora.counters.with_name("stats_counters.json.damaged").is_file()
    assert "counters are damaged" in amphora.journal()


def test_counters_are_written_only_when_they_change(
    amphora: Amphora, manager: tuple[Listener, str], start_haproxy: StartHaproxy
) -> None:
    """Without traffic the file, of mode 0640, stays the very same; traffic replaces it."""
    _, entry = manager
    haproxy = start_haproxy(1)
    amphora.configure([entry])
    amphora.start()
    amphora.beats(2)
    before = amphora.counters.stat()
    assert before.st_mode & 0o777 == 0o640
    amphora.beats(3)
    assert amphora.counters.stat().st_ino == before.st_ino
    haproxy.serve(1)
    amphora.beats(2)
    assert amphora.counters.stat().st_mtime_ns != before.st_mtime_ns


def test_heartbeat_too_large_for_a_datagram_keeps_its_listeners(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """With 8,000 members the members are left out, said once, and the listener is reported."""
    listener, entry = manager
    servers = (
        f"    server {os.urandom(4).hex()}-0000-4000-8000-{os.urandom(6).hex()}"
        " 127.0.0.1:9 disabled\n"
        for _ in range(8000)
    )
    haproxy = start_haproxy(1, "".join(servers))
    amphora.configure([entry], interval="1")
    amphora.start()
    message = octavia.message(listener.next(deadline_s=DEADLINE_S).payload)
    assert list(message["listeners"]) == [haproxy.listener]
    assert message["pools"] == {haproxy.pool: {"status": "DOWN", "members": {}}}
    amphora.beats(2)
    assert amphora.journal().count("too large for one datagram") == 1
