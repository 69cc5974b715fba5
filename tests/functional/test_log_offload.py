# SPDX-License-Identifier: Apache-2.0
"""Log offload with the real rsyslog and the files that Octavia's own renderer makes."""

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import markupsafe
import pytest

from tests.functional.conftest import REPOSITORY
from tests.support import need, waiting
from tests.support.netns import Namespace, namespace
from tests.support.octavia_driver import interpreter

ETC = REPOSITORY / "elements/amphora-log/static/etc"
ROTATE = REPOSITORY / "elements/amphora-log/static/usr/lib/amphora/rotate-log"
_DEADLINE_S = 20.0
# What a client of syslog puts before a message: facility * 8 + severity.
LOCAL0_INFO, LOCAL0_NOTICE, LOCAL1_INFO, DAEMON_INFO = 134, 133, 142, 30
PORT = 10514

Options = dict[str, Any]
ALL_OPTIONS: list[Options] = [
    {
        "tenant_log_targets": ["192.0.2.1:514", "192.0.2.2:514"][:tenants],
        "admin_log_targets": ["192.0.2.3:514", "[2001:db8::1]:514"][:admins],
        "forward_all_logs": forward_all,
        "disable_local_log_storage": no_local,
        "log_protocol": protocol,
    }
    for tenants, admins, forward_all, no_local, protocol in itertools.product(
        range(3), range(3), (False, True), (False, True), ("UDP", "TCP")
    )
]


@cache
def rendered(options: str) -> list[str]:
    """Octavia's files for sets of options, in JSON."""
    done = subprocess.run(
        [interpreter(), "-W", "ignore", "-m", "tests.support.octavia_rsyslog", options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )
    return list(json.loads(done.stdout))


def file_for(**options: object) -> str:
    """Octavia's file for some options; those that are left out are Octavia's defaults."""
    defaults: Options = {
        "tenant_log_targets": [],
        "admin_log_targets": [],
        "forward_all_logs": False,
        "disable_local_log_storage": False,
        "log_protocol": "UDP",
        "log_queue_size": 10000,
    }
    return rendered(json.dumps([{**defaults, **options}]))[0]


@dataclass(frozen=True, kw_only=True)
class Amphora:
    """rsyslog's files as the image has them, below a directory of the test."""

    inside: Namespace
    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "rsyslog.conf"

    @property
    def socket(self) -> Path:
        return self.directory / "octavia/log"

    @property
    def run(self) -> Path:
        return self.directory / "run"

    def install(self) -> None:
        """Copy what the element ships, with all paths below the directory."""
        (self.directory / "rsyslog.d").mkdir()
        (self.directory / "spool").mkdir()
        self.run.mkdir()
        for path in (ETC / "rsyslog.conf", *(ETC / "rsyslog.d").iterdir()):
            text = path.read_text()
            for old, new in (
                ('module(load="imuxsock")', 'module(load="imuxsock" SysSock.Use="off")'),
                ("/etc/rsyslog.d", f"{self.directory}/rsyslog.d"),
                ("/run/amphora", str(self.run)),
                ("/run/rsyslog", str(self.directory)),
                ("/usr/lib/amphora/rotate-log", str(ROTATE)),
                ("/var/log", str(self.directory)),
                ("/var/spool/rsyslog", str(self.directory / "spool")),
            ):
                text = text.replace(old, new)
            (self.directory / path.relative_to(ETC)).write_text(text)

    def inject(self, text: str) -> tuple[str, dict[str, Any]]:
        """Give it a file of the controller, and prepare it; what was told, and the state."""
        source = self.directory / "rsyslog.d/10-rsyslog.conf"
        source.write_text(text)
        done = subprocess.run(
            [
                *(sys.executable, "-W", "error", "-m", "amphora_agent.log_offload"),
                *("--source", str(source), "--run", str(self.run)),
                *("--rsyslog-config", str(self.config)),
                *("--agent-config", str(self.directory / "agent.conf")),
            ],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=True,
        )
        return done.stderr, json.loads((self.run / "log-offload.json").read_text())

    @contextmanager
    def rsyslog(self) -> Iterator[subprocess.Popen[bytes]]:
        """rsyslog, from when its socket is there."""
        with (self.directory / "rsyslog.out").open("ab") as output:
            process = subprocess.Popen(
                self.inside.command(
                    *("rsyslogd", "-n", "-i", str(self.directory / "pid")),
                    *("-f", str(self.config)),
                ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            waiting.until(
                "rsyslog's socket",
                lambda: self.socket.exists() or None,
                deadline_s=_DEADLINE_S,
                every_s=0.02,
            )
            yield process
            assert process.poll() is None, "rsyslog ended by itself"
        finally:
            process.terminate()
            process.wait(timeout=_DEADLINE_S)

    def say(self, priority: int, *texts: str, program: str = "haproxy") -> None:
        """Log as haproxy does; waits while rsyslog's socket is full."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            for text in texts:
                message = f"<{priority}>Nov 27 01:00:00 {program}[1]: {text}"
                sender.sendto(message.encode(), str(self.socket))

    def logged(self, name: str) -> str:
        path = self.directory / name
        return path.read_text() if path.exists() else ""

    def await_logged(self, name: str, text: str) -> None:
        waiting.until(
            f"{text!r} in {name}",
            lambda: text in self.logged(name) or None,
            deadline_s=_DEADLINE_S,
            every_s=0.05,
        )


@pytest.fixture(scope="module")
def inside() -> Iterator[Namespace]:
    """Where rsyslog runs and its targets are."""
    need.root()
    need.programs("ip", "rsyslogd")
    with namespace("logs") as made:
        yield made


@pytest.fixture
def amphora(inside: Namespace) -> Iterator[Amphora]:
    """An amphora's rsyslog, not started."""
    # Paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="amp-") as directory:
        made = Amphora(inside=inside, directory=Path(directory))
        made.install()
        yield made


@contextmanager
def receiver(inside: Namespace, address: str) -> Iterator[socket.socket]:
    """A target, by UDP."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside.entered():
        sock = socket.socket(family, socket.SOCK_DGRAM)
    with sock:
        sock.bind((address, PORT))
        sock.settimeout(_DEADLINE_S)
        yield sock


def test_octavia_renders_what_rsyslog_refuses(amphora: Amphora) -> None:
    """Without repair rsyslog refuses exactly the files in which two statements share a line."""
    for options, text in zip(ALL_OPTIONS, rendered(json.dumps(ALL_OPTIONS)), strict=True):
        (amphora.run / "log-offload.conf").write_text(text)
        is_glued = re.search(r"call \w+\*", text) is not None
        assert is_glued == (
            bool(options["admin_log_targets"])
            and options["disable_local_log_storage"]
            and not options["forward_all_logs"]
        )
        done = subprocess.run(
            ["rsyslogd", "-N1", "-f", str(amphora.config)], capture_output=True, check=False
        )
        assert (done.returncode != 0) == is_glued, options


@pytest.mark.slow
@pytest.mark.parametrize("escaped", [False, True], ids=["config-drive", "user-data"])
def test_every_file_of_octavia_is_taken(amphora: Amphora, escaped: bool) -> None:
    """With every combination of options, however it came, rsyslog takes the whole file."""
    for options, text in zip(ALL_OPTIONS, rendered(json.dumps(ALL_OPTIONS)), strict=True):
        told, state = amphora.inject(str(markupsafe.escape(text)) if escaped else text)

        assert "error" not in told
        expected = "on" if text else "off"
        assert state["state"] == expected, options
        result = (amphora.run / "log-offload.conf").read_text()
        assert ('target="2001:db8::1"' in result) == (len(options["admin_log_targets"]) == 2)
        assert result.count("*.* stop") == text.count("*.* stop")
        assert len(re.findall(r"^\S+ call \w+$", result, re.MULTILINE)) == bool(
            options["admin_log_targets"]
        ) + bool(options["tenant_log_targets"])


def test_broken_combination_forwards_and_stores_nothing(
    amphora: Amphora, inside: Namespace
) -> None:
    """Glued by the controller, the two statements do what they are for: forward, and stop."""
    text = file_for(admin_log_targets=[f"127.0.0.1:{PORT}"], disable_local_log_storage=True)
    told, state = amphora.inject(text)
    assert "two statements on one line" in told
    assert state["state"] == "on"
    assert any("two statements" in message for message in state["messages"])

    with receiver(inside, "127.0.0.1") as target, amphora.rsyslog():
        amphora.say(LOCAL0_INFO, "of a tenant")
        amphora.say(LOCAL1_INFO, "of the amphora", program="amphora-agent")
        assert b"of the amphora" in target.recv(4096)
    assert "of a" not in amphora.logged("haproxy.log") + amphora.logged("syslog")


def test_ipv6_target_receives(amphora: Amphora, inside: Namespace) -> None:
    """A target with an IPv6 address, which the controller writes in brackets, gets its lines."""
    amphora.inject(file_for(tenant_log_targets=[f"[::1]:{PORT}"]))

    with receiver(inside, "::1") as target, amphora.rsyslog():
        amphora.say(LOCAL0_NOTICE, "not traffic")
        amphora.say(LOCAL0_INFO, "traffic")
        assert b"traffic" in (received := target.recv(4096))
        assert b"not traffic" not in received
        amphora.await_logged("haproxy.log", "not traffic")
        amphora.await_logged("haproxy.log", ": traffic")


def test_target_that_is_down_does_not_stop_local_logs(amphora: Amphora) -> None:
    """With a TCP target that refuses, every line is still stored after the queue has filled up."""
    # A queue of a hundred is full at once.
    options = {"log_protocol": "TCP", "log_queue_size": 100}
    amphora.inject(file_for(tenant_log_targets=[f"127.0.0.1:{PORT}"], **options))

    with amphora.rsyslog() as process:
        amphora.say(LOCAL0_INFO, *(f"line {number}." for number in range(5000)))
        amphora.await_logged("haproxy.log", "line 4999.")
        status = Path(f"/proc/{process.pid}/status").read_text()
    assert amphora.logged("haproxy.log").count("line ") == 5000
    [size_kb] = re.findall(r"VmRSS:\s+(\d+) kB", status)
    assert int(size_kb) < 64 * 1024


@pytest.mark.parametrize(
    "text",
    [
        'action(type="omfwd" target="192.0.2.1"',
        "local1.* call no_such_ruleset",
        "<html>not found</html>",
    ],
)
def test_faulty_file_is_set_aside(amphora: Amphora, text: str) -> None:
    """rsyslog runs with local logs; console and state name the file and rsyslog's reason."""
    told, state = amphora.inject(text)

    assert state["state"] == "set aside"
    [message] = [line for line in told.splitlines() if "error: " in line]
    assert "10-rsyslog.conf" in message
    assert message.removeprefix("log offload: ") in state["messages"]
    with amphora.rsyslog():
        amphora.say(LOCAL0_INFO, "still here")
        amphora.say(DAEMON_INFO, "as ever", program="systemd")
        amphora.await_logged("haproxy.log", "still here")
        amphora.await_logged("syslog", "as ever")
    assert "error" not in amphora.logged("rsyslog.out")


def test_file_that_is_not_text_is_set_aside(amphora: Amphora) -> None:
    """Bytes that are not UTF-8 are no reason for a traceback, or for no state."""
    source = amphora.directory / "rsyslog.d/10-rsyslog.conf"
    source.write_bytes(b"local1.* \xff")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "amphora_agent.log_offload", "--source", str(source)),
            *("--run", str(amphora.run), "--rsyslog-config", str(amphora.config)),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=True,
    )

    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((amphora.run / "log-offload.json").read_text())["state"] == "set aside"


@pytest.mark.parametrize("section", ["amphora_agent", "haproxy_amphora"])
def test_facility_is_found_in_either_section(amphora: Amphora, section: str) -> None:
    """The number that keepalived is to log with is the controller's, wherever it stands."""
    (amphora.directory / "agent.conf").write_text(
        f"[amphora_agent]\namphora_id = {'0' * 8}-0000-4000-8000-000000000000\n"
        f"[{section}]\nadministrative_log_facility = 5\n".replace(
            "[amphora_agent]\nadministrative", "administrative"
        )
    )
    amphora.inject(file_for(admin_log_targets=[f"127.0.0.1:{PORT}"]))

    assert (amphora.run / "log.env").read_text() == "LOG_FACILITY=5\n"


def test_logs_are_bounded(amphora: Amphora) -> None:
    """However much is logged, each log is two files of the limit at the most."""
    for path in (amphora.config, amphora.directory / "rsyslog.d/49-haproxy.conf"):
        text, changed = re.subn(r'sizeLimit="\d+"', 'sizeLimit="20000"', path.read_text())
        assert changed == 1
        path.write_text(text)
    amphora.inject("")

    with amphora.rsyslog():
        amphora.say(LOCAL0_INFO, *(f"line {number:05}." for number in range(3000)))
        amphora.say(DAEMON_INFO, *(f"line {number:05}." for number in range(3000)), program="x")
        amphora.await_logged("haproxy.log", "line 02999.")
        amphora.await_logged("syslog", "line 02999.")
    for name in ("haproxy.log", "syslog"):
        sizes = {p.name: p.stat().st_size for p in amphora.directory.glob(f"{name}*")}
        assert set(sizes) == {name, f"{name}.1"}
        # rsyslog writes some kilobytes at a time.
        assert max(sizes.values()) < 30000
