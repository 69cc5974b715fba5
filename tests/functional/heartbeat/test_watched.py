# SPDX-License-Identifier: Apache-2.0
"""`amphoractl watch` against a running amphora: the real sender and the real haproxy."""

import itertools
import socket
from pathlib import Path
from typing import Any

from tests.support import waiting
from tests.support.heartbeat_haproxy import StartHaproxy, free_port
from tests.support.heartbeat_lab import (
    AMPHORA_ID,
    DEADLINE_S,
    KEY,
    MEMBER,
    Amphora,
    end,
    health_manager,
)
from tests.support.watched import assert_unbroken
from tests.support.watching import udp_port, watching


def test_watch_follows_a_real_amphora(
    tmp_path: Path, amphora: Amphora, start_haproxy: StartHaproxy
) -> None:
    """A member goes down and up by haproxy's own checks, requests show as traffic, silence too."""
    port, member_port = udp_port(), free_port()
    with health_manager() as (_, other):
        # As one more entry of the list: every second heartbeat goes to the health manager.
        amphora.configure([f"127.0.0.1:{port}", other])
        check = "check inter 100ms fall 1 rise 1"
        haproxy = start_haproxy(1, f"    server {MEMBER}01 127.0.0.1:{member_port} {check}\n")
        options = ("--listen", f"127.0.0.1:{port}", "--json", "--heartbeats", "--silent-after", "3")
        with watching(tmp_path, *options, key=KEY) as watch:
            watch.await_ear(port)
            sender = amphora.start()
            watch.await_row(kind="amphora", amphora_id=AMPHORA_ID, before=None, after="ALIVE")
            watch.await_row(kind="member", object_id=f"{MEMBER}01", after="ERROR")
            with socket.create_server(("127.0.0.1", member_port)):
                watch.await_row(kind="member", object_id=f"{MEMBER}01", after="ONLINE")

            def with_traffic() -> dict[str, Any] | None:
                # What a heartbeat says that went to the health manager, the watch never hears.
                haproxy.serve(2)
                beats = [row for row in watch.rows() if row["kind"] == "heartbeat"]
                return next((row for row in beats if row["connections_per_s"]), None)

            heard = waiting.until("traffic", with_traffic, deadline_s=DEADLINE_S, every_s=0.05)
            assert heard["bytes_out_per_s"] > 0
            assert heard["listeners"] == {haproxy.listener: "ONLINE"}
            assert list(heard["pools"]) == [haproxy.pool.partition(":")[0]]
            end(sender)
            watch.await_row(kind="amphora", before="ALIVE", after="SILENT")
            rows = watch.rows()
    beats = [row for row in rows if row["kind"] == "heartbeat"]
    sequences = [row["sequence"] for row in beats]
    assert [after - before for before, after in itertools.pairwise(sequences)] == (
        [2] * (len(sequences) - 1)
    )
    events = [row for row in rows if row["kind"] != "heartbeat"]
    assert_unbroken(events, {AMPHORA_ID: "SILENT", haproxy.listener: "ONLINE"})
