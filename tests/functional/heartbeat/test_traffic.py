# SPDX-License-Identifier: Apache-2.0
"""Traffic in the heartbeats of the real sender, with the real haproxy: all of it, and once.

All traffic stays on loopback. Time is counted in heartbeats and in the sender's own reports to
systemd (its notify socket), never by a clock.
"""

import signal

from tests.support.heartbeat_haproxy import StartHaproxy
from tests.support.heartbeat_lab import (
    DEADLINE_S,
    REFUSED,
    Amphora,
    Opener,
)
from tests.support.heartbeat_load import Told
from tests.support.heartbeats import Listener


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
    told = Told(listener, octavia)
    amphora.configure([entry])
    sender = amphora.start()
    haproxy.serve(3)
    told.await_sessions(haproxy, 3)
    haproxy.reload()
    haproxy.serve(5)
    told.await_sessions(haproxy, 8)
    sender.send_signal(signal.SIGTERM)
    assert sender.wait(timeout=DEADLINE_S) == 0
    haproxy.serve(2)
    amphora.start()
    told.await_sessions(haproxy, 10)
    amphora.beats(3)
    assert told.of(haproxy).count == 10


def test_traffic_that_could_not_be_sent_is_in_the_next_heartbeat(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """What the kernel refused is reported later, though sender and worker restarted meanwhile."""
    listener, entry = manager
    haproxy = start_haproxy(1)
    told = Told(listener, octavia)
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
    told.await_sessions(haproxy, 5)
    # Each sender says it once, not at each heartbeat.
    assert amphora.journal().count("255.255.255.255 port 5555") == 2


def test_damaged_counters_are_kept_aside_and_nothing_is_billed_twice(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """After the file was damaged only new requests are reported, and the old file is kept."""
    listener, entry = manager
    haproxy = start_haproxy(1)
    told = Told(listener, octavia)
    amphora.configure([entry])
    sender = amphora.start()
    haproxy.serve(6)
    told.await_sessions(haproxy, 6)
    sender.send_signal(signal.SIGTERM)
    sender.wait(timeout=DEADLINE_S)
    amphora.counters.write_bytes(amphora.counters.read_bytes()[:-20])
    amphora.start()
    amphora.beats(2)
    haproxy.serve(1)
    told.await_sessions(haproxy, 7)
    assert amphora.counters.with_name("stats_counters.json.damaged").is_file()
    assert "counters are damaged" in amphora.journal()


def test_counters_are_written_only_when_they_change(
    amphora: Amphora, manager: tuple[Listener, str], start_haproxy: StartHaproxy
) -> None:
    """Without traffic the file, of mode 0640, stays as it is; traffic adds a line to it."""
    _, entry = manager
    haproxy = start_haproxy(1)
    amphora.configure([entry])
    amphora.start()
    amphora.beats(2)
    before = amphora.counters.stat()
    assert before.st_mode & 0o777 == 0o640
    amphora.beats(3)
    assert amphora.counters.stat().st_mtime_ns == before.st_mtime_ns
    text = amphora.counters.read_bytes()
    haproxy.serve(1)
    amphora.beats(2)
    assert amphora.counters.stat().st_ino == before.st_ino
    more = amphora.counters.read_bytes()
    assert more.startswith(text)
    assert more.count(b"\n") > text.count(b"\n")
