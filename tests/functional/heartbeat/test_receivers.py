# SPDX-License-Identifier: Apache-2.0
"""Who gets the heartbeats of the real sender, and when nobody does.

All traffic stays on loopback. Time is counted in heartbeats and in the sender's own reports to
systemd (its notify socket), never by a clock.
"""

import os
import signal
import subprocess

from tests.support import need
from tests.support.heartbeat_lab import (
    DEADLINE_S,
    REFUSED,
    Amphora,
    Opener,
    health_manager,
)
from tests.support.heartbeats import Listener


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
