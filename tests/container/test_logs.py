# SPDX-License-Identifier: Apache-2.0
"""Logs of an amphora: rsyslog is there whatever the controller sends."""

import json
from collections.abc import Iterator

import pytest

from tests.support import waiting
from tests.support.container import Container
from tests.support.guest import Plan
from tests.support.yard import Yard

SOCKET = "/run/rsyslog/octavia/log"
GLUED = """
ruleset(name="admin_forwarding" queue.type="linkedList" queue.size="10000") {
  action(type="omfwd" target="192.0.2.1" port="514" protocol="UDP")
}
local1.* call admin_forwarding*.* stop
"""


@pytest.fixture(scope="module")
def amphora(
    plan: Plan, yard: Yard, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    with yard.boot(plan, tmp_path_factory.mktemp("logs")) as booted:
        yield booted


def give(amphora: Container, text: str) -> None:
    """Have rsyslog start anew with a file of the controller."""
    (amphora.root / "etc/rsyslog.d/10-rsyslog.conf").write_text(text)
    amphora.run("systemctl restart rsyslog")


def state(amphora: Container) -> str:
    path = "/run/amphora/log-offload.json"
    return str(json.loads(amphora.run(f"cat {path}"))["state"])


def say(amphora: Container, text: str) -> None:
    """Log as haproxy does, through the socket that its namespace reaches."""
    message = f"<134>Nov 27 01:00:00 haproxy[1]: {text}"
    amphora.run(
        f"ip netns exec amphora-haproxy python3 -c 'import socket; socket.socket(socket.AF_UNIX,"
        f' socket.SOCK_DGRAM).sendto(b"{message}", "{SOCKET}")\''
    )


def is_stored(amphora: Container, text: str) -> None:
    waiting.until(
        f"{text!r} in haproxy.log",
        lambda: text in amphora.run("cat /var/log/haproxy.log || true") or None,
        deadline_s=20,
        every_s=0.1,
    )


def test_socket_is_there_when_rsyslog_is_up(amphora: Container) -> None:
    """Whatever comes after rsyslog finds the socket, also after a restart and a crash."""
    amphora.run(f"systemctl restart rsyslog && test -S {SOCKET}")
    say(amphora, "first")
    is_stored(amphora, "first")
    shown = "systemctl show --property=ActiveState,MainPID rsyslog"
    before = amphora.run(shown)
    amphora.run("kill -KILL $(systemctl show --value --property=MainPID rsyslog)")

    def is_back() -> bool | None:
        now = amphora.run(shown)
        return ("ActiveState=active\n" in now and now != before and "MainPID=0" not in now) or None

    waiting.until("rsyslog to be back", is_back, deadline_s=20, every_s=0.05)
    say(amphora, "second")
    is_stored(amphora, "second")


def test_offload_is_prepared_whenever_rsyslog_starts(amphora: Container) -> None:
    """The broken combination is repaired, a faulty file set aside, an empty one no offload."""
    give(amphora, GLUED)
    assert state(amphora) == "on"
    say(amphora, "forwarded only")

    give(amphora, "nonsense(")
    assert state(amphora) == "set aside"
    say(amphora, "stored")
    is_stored(amphora, "stored")
    assert "forwarded only" not in amphora.run("cat /var/log/haproxy.log")
    journal = amphora.run("journalctl --no-pager --output=cat --unit amphora-log-offload")
    assert "two statements on one line" in journal
    assert "10-rsyslog.conf is set aside" in journal
    # The fault of the file is told once, and rsyslog itself has none.
    assert "nonsense" not in amphora.run("journalctl --no-pager --output=cat --unit rsyslog")

    give(amphora, "")
    assert amphora.run("ls /run/amphora") == ""
    say(amphora, "stored again")
    is_stored(amphora, "stored again")


def test_line_of_a_request_has_its_fields(amphora: Container, plan: Plan) -> None:
    """A refused configuration stands in the journal with priority, request and client."""
    client = plan.client(plan.pki.controller)
    assert client.request("PUT", "/1.0/config", body=b"nonsense").status == 400

    found = amphora.run(
        "journalctl --output=json --unit amphora-agent PRIORITY=4 'REQUEST=PUT /1.0/config'"
    )
    [line] = [json.loads(text) for text in found.splitlines()]
    assert "is refused" in line["MESSAGE"]
    assert line["CLIENT"]
    assert len(line["REQUEST_ID"]) == 12
    assert line["SYSLOG_FACILITY"] == "17"
    assert line["LOGGER"].startswith("amphora_agent.")
    waiting.until(
        "the line in syslog",
        lambda: "is refused" in amphora.run("cat /var/log/syslog") or None,
        deadline_s=20,
        every_s=0.1,
    )


def test_logs_in_memory_are_bounded(amphora: Container) -> None:
    """The journal has the limit that its configuration names, and no files on the disk."""
    shown = amphora.run("systemd-analyze cat-config systemd/journald.conf")
    assert "\nStorage=volatile\n" in shown
    assert "\nRuntimeMaxUse=16M\n" in shown
    assert amphora.run("ls /var/log/journal 2>/dev/null || true") == ""
