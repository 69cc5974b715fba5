# SPDX-License-Identifier: Apache-2.0
"""The real sender as a service: its configuration, signals, and what it says to systemd.

All traffic stays on loopback. Time is counted in heartbeats and in the sender's own reports to
systemd (its notify socket), never by a clock.
"""

import signal
import socket
from pathlib import Path

from tests.support import waiting
from tests.support.heartbeat_lab import (
    DEADLINE_S,
    LB,
    Amphora,
    Opener,
)
from tests.support.heartbeats import Listener


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


def test_sender_has_no_library_in_memory_that_it_hardly_uses(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """It signs without OpenSSL, and sends to a name without Unicode's tables."""
    listener, entry = manager
    amphora.configure([f"localhost:{entry.rpartition(':')[2]}"])
    sender = amphora.start()
    assert octavia.message(listener.next(deadline_s=DEADLINE_S).payload)["seq"] == 0
    mapped = Path(f"/proc/{sender.pid}/maps").read_text()
    assert "libc.so" in mapped
    assert "libcrypto" not in mapped
    assert "unicodedata" not in mapped
