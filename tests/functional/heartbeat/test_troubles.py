# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around the sender, and what it tells of itself and to old controllers."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.functional.haproxy_configs import listener_config
from tests.support import heartbeats, need, waiting
from tests.support.heartbeat_haproxy import StartHaproxy, free_port
from tests.support.heartbeat_lab import (
    AMPHORA_ID,
    DEADLINE_S,
    LB,
    LISTENER,
    REFUSED,
    Amphora,
    Opener,
    end,
)
from tests.support.heartbeats import Listener
from tests.support.netns import Namespace, namespace

LOOPBACK = "127.0.0.1"


@pytest.fixture
def status(amphora: Amphora) -> Path:
    """The status file, in a directory that stands for the unit's runtime directory."""
    directory = amphora.config.with_name("run")
    directory.mkdir()
    return directory / "status.json"


def read(status: Path) -> Any:
    """The status, which is always whole."""
    return waiting.until(
        "the status",
        lambda: json.loads(status.read_text()) if status.exists() else None,
        deadline_s=DEADLINE_S,
        every_s=0.05,
    )


def test_status_counts_by_controller(
    amphora: Amphora, manager: tuple[Listener, str], start_haproxy: StartHaproxy, status: Path
) -> None:
    """Sent and refused heartbeats stand beside their controllers, with the reason."""
    heard, entry = manager
    start_haproxy(1)
    (amphora.base / f"{LB}2").mkdir()
    (amphora.base / f"{LB}2" / "haproxy.cfg").write_text("global\n")
    amphora.configure([REFUSED, entry])
    amphora.start(RUNTIME_DIRECTORY=str(status.parent))
    heard.wait_for(4, deadline_s=DEADLINE_S)
    amphora.beats(1)
    found = read(status)
    assert found["controllers"].keys() == {REFUSED, entry}
    refused, heard_of = found["controllers"][REFUSED], found["controllers"][entry]
    assert (refused["sent"], refused["failed"] >= 2) == (0, True)
    assert "Permission denied" in refused["last_error"]
    assert (heard_of["failed"], heard_of["last_error"]) == (0, "")
    assert heard_of["sent"] >= 4
    assert (found["amphora_id"], found["silence"]) == (AMPHORA_ID, "")
    assert found["unreported"] == [f"haproxy:{LB}2"]
    last = found["last"]
    assert (last["listeners"], last["pools"], last["members"], last["left_out"]) == (1, 1, 1, "")
    assert (last["controller"], last["message_version"]) == (entry, 3)


def test_status_says_why_nothing_is_sent(amphora: Amphora, status: Path) -> None:
    """Without any controller that can be sent to, the silence has a reason."""
    amphora.configure([REFUSED])
    amphora.start(RUNTIME_DIRECTORY=str(status.parent))
    amphora.beats(2)
    found = read(status)
    assert "could not be sent to any controller" in found["silence"]
    assert found["last"] is None
    amphora.configure([])
    amphora.await_journal("has no usable entry")
    amphora.beats(1)
    assert "controller_ip_port_list" in read(status)["silence"]


def test_period_that_is_changed_takes_effect_without_a_signal(
    amphora: Amphora, manager: tuple[Listener, str]
) -> None:
    """A period of an hour that becomes a tenth of a second is not waited for."""
    heard, entry = manager
    amphora.configure([entry], interval="3600")
    amphora.start()
    heard.next(deadline_s=DEADLINE_S)
    amphora.configure([entry], interval="0.1")
    heard.wait_for(4, deadline_s=DEADLINE_S)


@contextmanager
def silent_name_server(inside: Namespace) -> Iterator[None]:
    """The only name server of a namespace takes every question and answers none."""
    files = Path("/etc/netns", inside.name)
    files.mkdir(parents=True)
    try:
        (files / "resolv.conf").write_text(f"nameserver {LOOPBACK}\n")
        with inside.entered():
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with server:
            server.bind((LOOPBACK, 53))
            yield
    finally:
        (files / "resolv.conf").unlink()
        files.rmdir()
        with suppress(OSError):
            files.parent.rmdir()


def test_name_server_that_is_silent_holds_up_no_heartbeat(amphora: Amphora) -> None:
    """No pause is as long as the resolver waits (5 s), and the name is said to have no address."""
    need.root()
    with namespace("names") as inside, silent_name_server(inside):
        with inside.entered():
            ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ear.bind((LOOPBACK, 0))
        entry = f"{LOOPBACK}:{ear.getsockname()[1]}"
        heard = heartbeats.Listener(ear)
        try:
            amphora.configure(["controller.example:5555", entry], interval="0.2")
            amphora.start(inside)
            received = heard.wait_for(40, deadline_s=DEADLINE_S)
            amphora.stop()
        finally:
            heard.close()
    assert max(b.arrived - a.arrived for a, b in pairwise(received)) < 4
    assert "controller.example has no address: the resolver takes too long" in amphora.journal()


def lvs_config(base: Path, listener_id: str, text: str) -> Path:
    """The configuration of a UDP listener."""
    path = base / "lvs" / f"octavia-keepalivedlvs-{listener_id}.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_odd_file_of_one_udp_listener_hides_no_other(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """Of five files those of running, enabled listeners count, whatever else is in them."""
    heard, entry = manager
    texts = {
        f"{LISTENER}1": f"# Configuration for Listener {LISTENER}1\n",
        f"{LISTENER}2": f"# Listener {LISTENER}2 is disabled\n",
        f"{LISTENER}3": "\0nonsense\n\x7f}}}} real_server\nvirtual_server_group\n",
        f"{LISTENER}4": "",
    }
    program = amphora.base / "keepalived"
    program.symlink_to("/bin/sleep")
    keepalived = waiting_process(program)
    try:
        for listener_id, text in texts.items():
            config = lvs_config(amphora.base, listener_id, text)
            config.with_suffix(".pid").write_text(f"{keepalived.pid}\n")
        lvs_config(amphora.base, f"{LISTENER}4", "").with_suffix(".pid").unlink()
        lvs_config(amphora.base, f"{LISTENER}5", "").unlink()
        (amphora.base / f"lvs/octavia-keepalivedlvs-{LISTENER}5.conf").mkdir()
        amphora.configure([entry])
        amphora.start()
        message = octavia.message(heard.next(deadline_s=DEADLINE_S).payload)
    finally:
        end(keepalived)
    assert sorted(message["listeners"]) == [f"{LISTENER}1", f"{LISTENER}3"]
    assert {row["status"] for row in message["listeners"].values()} == {"OPEN"}
    amphora.await_journal(f"listener {LISTENER}5 is not reported")
    amphora.await_journal(f"listener {LISTENER}4 is not reported")


def waiting_process(program: Path) -> subprocess.Popen[bytes]:
    """A process with this name that does nothing."""
    return subprocess.Popen([program, "600"])


def test_controller_of_api_0_5_gets_version_1(
    amphora: Amphora, manager: tuple[Listener, str], octavia: Opener
) -> None:
    """With a haproxy for each listener the pool stands in it, and counters are absolute."""
    need.programs("haproxy")
    heard, entry = manager
    listener_id = f"{LISTENER}1"
    directory = amphora.base / listener_id
    directory.mkdir()
    port = free_port()
    text = listener_config(amphora.base, listener_id, vip=LOOPBACK, ports={"m": 9}).decode()
    pool = "9001d000-0000-4000-8000-000000000001"
    text = text.replace(f"pool:{listener_id}", pool).replace(":80\n", f":{port}\n")
    (directory / "haproxy.cfg").write_text(text.replace("daemon", "", 1))
    process = subprocess.Popen(
        ["haproxy", "-W", "-db", "-f", str(directory / "haproxy.cfg")],
        stderr=subprocess.DEVNULL,
    )
    try:
        amphora.configure([entry])
        amphora.start()

        def versions() -> Any:
            message = octavia.message(heard.next(deadline_s=DEADLINE_S).payload)
            return message if message["listeners"] else None

        message = waiting.until("a listener", versions, deadline_s=DEADLINE_S, every_s=0)
        with socket.create_connection((LOOPBACK, port)) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while client.recv(4096):
                pass
        counts = []
        for _ in range(4):
            latest = octavia.message(heard.next(deadline_s=DEADLINE_S).payload)
            counts.append(latest["listeners"][listener_id]["stats"]["totconns"])
        amphora.stop()
    finally:
        end(process)
    assert (message["ver"], message["pools"]) == (1, {})
    assert list(message["listeners"][listener_id]["pools"]) == [pool]
    assert counts[1:] == [1, 1, 1]
