# SPDX-License-Identifier: Apache-2.0
"""The agent is killed at any point of its work, and what is on the disk is whole.

Never is a file half written, a service running without its file, or a file there that haproxy
refuses; and what was answered has happened. haproxy and keepalived are the real ones; UDP listeners
have no pool, so that the kernel needs no IPVS.
"""

import contextlib
import random
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.functional.conftest import Place
from tests.functional.kill_requests import (
    ADDRESS,
    LBS,
    LISTENERS,
    Content,
    Request,
    Requests,
    lvs_file,
    vrrp_file,
)
from tests.functional.killing import Since, killable
from tests.support import need, waiting
from tests.support.mutual_tls import RefusedError

pytestmark = pytest.mark.slow

SEED = 20_260_930
KILLS_AT_STEPS = 480
# Each starts an agent, which takes as long as a dozen of the others.
KILLS_OF_SERVER = 25
_DEADLINE_S = 30


class Disk:
    """What files may hold, and whether they do."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._held: dict[Path, Content] = {
            place.server_pem: place.server_pem.read_bytes(),
            place.config_file: place.config_file.read_bytes(),
        }
        self._accepted: set[bytes] = set()

    def judge(self, requests: list[Request], statuses: list[int]) -> None:
        """Look at the disk after a run.

        Args:
            statuses: of the requests that were answered; the one after them may have been begun.
        """
        may: dict[Path, set[Content]] = {}
        for request, status in zip(requests, statuses, strict=False):
            lacks = request.needs is not None and not self._was_there(request.needs, may)
            assert status < 500 or lacks, (request.method, request.path, status)
            if status < 400:
                may.update((file, {content}) for file, content in request.writes.items())
        for request in requests[len(statuses) : len(statuses) + 1]:
            for file, content in request.writes.items():
                may[file] = may.get(file, {self._held.get(file)}) | {content}
        for file, contents in may.items():
            found = file.read_bytes() if file.exists() else None
            assert found in contents, f"{file} holds {found!r:.80} of {len(found or b'')} bytes"
            self._held[file] = found
        for file, content in self._held.items():
            found = file.read_bytes() if file.exists() else None
            assert found == content, f"{file} changed though nothing asked for it"
            mode = 0o644 if file.name.startswith("octavia-keepalived") else 0o600
            assert found is None or file.stat().st_mode & 0o777 == mode, file
        self._judge_haproxy()
        self._judge_keepalived()

    def _judge_haproxy(self) -> None:
        for file in self._place.base.glob("*/haproxy.cfg"):
            content = file.read_bytes()
            # Comments make contents differ, and mean nothing to haproxy.
            meaning = re.sub(rb"(?m)^# \d+\n", b"", content)
            if meaning not in self._accepted:
                group = self._place.base / "haproxy-default-user-group.conf"
                subprocess.run(
                    ["haproxy", "-c", "-q", "-f", str(file), "-f", str(group)],
                    check=True,
                    timeout=_DEADLINE_S,
                )
                self._accepted.add(meaning)
        for lb_id in self.running():
            assert (self._place.base / lb_id / "haproxy.cfg").exists(), f"{lb_id} runs without"

    def _was_there(self, file: Path, may: dict[Path, set[Content]]) -> bool:
        return None not in may.get(file, {self._held.get(file)})

    def _judge_keepalived(self) -> None:
        files = [vrrp_file(self._place)]
        files += [lvs_file(self._place, listener_id) for listener_id in LISTENERS]
        for config in files:
            if self.keepalived(config):
                assert config.exists(), f"keepalived runs without {config}"

    def keepalived(self, config: Path) -> list[int]:
        """Processes of the keepalived with this configuration; see `running`."""

        def find() -> list[int]:
            found = []
            for pid in self._place.inner.pids():
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    if f"--use-file={config}".encode() in words:
                        found.append(pid)
            return found

        def settled() -> list[int] | None:
            return None if (found := find()) and not config.with_suffix(".pid").exists() else found

        return waiting.until(f"{config}", settled, deadline_s=_DEADLINE_S, every_s=0.01)

    def running(self) -> set[str]:
        """Load balancers whose haproxy runs; one that is just starting is waited for."""
        found = set()
        for pid in self._place.inner.pids():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text()
                found |= {lb_id for lb_id in LBS if f"/{lb_id}/" in words}
        for lb_id in found:
            self._await_pid_file(lb_id)
        return found

    def _await_pid_file(self, lb_id: str) -> None:
        # A service manager knows of a process that it has begun to start; the stand-in for
        # systemd does so from haproxy's pid file on.
        file = self._place.base / lb_id / f"{lb_id}.pid"

        def probe() -> bool | None:
            return True if not file.parent.exists() or file.exists() else None

        waiting.until(f"{file}", probe, deadline_s=_DEADLINE_S, every_s=0.01)


def assert_nothing_left(place: Place, disk: Disk) -> None:
    """After all load balancers are deleted there is no trace of them."""
    assert disk.running() == set()
    assert disk.keepalived(vrrp_file(place)) == []
    left = {
        str(path.relative_to(place.base))
        for path in place.base.rglob("*")
        if any(owner in str(path) for owner in (*LBS, *LISTENERS))
    }
    assert left == set()
    hidden = [path for path in place.directory.rglob(".*") if path.is_file()]
    assert hidden == []


@pytest.fixture
def pair_place(fresh_place: Place) -> Place:
    """A place with the NIC of a VIP, as a plug leaves it."""
    need.programs("keepalived")
    outer, inner = fresh_place.outer, fresh_place.inner
    outer.ip("link", "set", "nic0", "name", "eth1", "netns", inner.name)
    inner.ip("address", "add", f"{ADDRESS}/24", "dev", "eth1")
    inner.ip("link", "set", "eth1", "up")
    return fresh_place


def test_kill_at_any_step_leaves_the_disk_whole(pair_place: Place) -> None:
    """Hundreds of times the agent dies before a step of its work; each time all files are whole."""
    place = pair_place
    place.server_pem.chmod(0o600)
    place.config_file.chmod(0o600)
    dice = random.Random(SEED)
    source, disk = Requests(place, dice), Disk(place)
    kills = 0
    with killable(place) as agent:
        while kills < KILLS_AT_STEPS:
            requests = source.some()
            kill_at = dice.randint(1, 20 * len(requests))
            since: Since = "start" if dice.random() < 0.05 else "request"
            ran = agent.run(requests, kill_at, since=since)
            kills += ran.killed
            try:
                disk.judge(requests, ran.statuses)
            except BaseException as exc:
                told = [f"{request.method} {request.path}" for request in requests]
                exc.add_note(f"kill {kills} at step {kill_at} of {told}, answered {ran.statuses}")
                exc.add_note(place.log.read_text(errors="replace")[-4000:])
                raise
        removal = source.removal()
        assert agent.run(removal).statuses == [200] * (len(removal) - 1) + [202]
    assert_nothing_left(place, disk)
    assert "Traceback" not in place.log.read_text()


def test_kill_of_the_server_leaves_the_disk_whole(pair_place: Place) -> None:
    """The agent dies while a controller talks to it over TLS, and is started anew."""
    place = pair_place
    dice = random.Random(SEED + 1)
    source, disk = Requests(place, dice), Disk(place)
    client = place.client(place.pki.controller)
    process = place.start()
    place.await_answer()
    try:
        for _ in range(KILLS_OF_SERVER):
            requests = source.some() + source.some()
            statuses: list[int] = []

            def talk(requests: list[Request] = requests, statuses: list[int] = statuses) -> None:
                with contextlib.suppress(OSError, RefusedError):
                    for request in requests:
                        answer = client.request(request.method, request.path, request.body)
                        statuses.append(answer.status)

            talking = threading.Thread(target=talk)
            talking.start()
            time.sleep(dice.uniform(0, 0.25))
            process.kill()
            process.wait(timeout=_DEADLINE_S)
            process = place.start()
            talking.join()
            place.await_answer()
            disk.judge(requests, statuses)
        for request in source.removal():
            assert client.request(request.method, request.path).status in {200, 202}
        assert_nothing_left(place, disk)
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)
    assert "Traceback" not in place.log.read_text()


@pytest.mark.parametrize("half", ["upload", "certificate", "lvs_upload", "vrrp_upload"])
def test_disk_judge_sees_a_half_written_file(fresh_place: Place, half: str) -> None:
    """The judge of the tests above is no yes-man: a file cut in half is told."""
    source, disk = Requests(fresh_place, random.Random(1)), Disk(fresh_place)
    request = getattr(source, half)()
    [(file, content)] = request.writes.items()
    assert content is not None
    file.parent.mkdir(parents=True)
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(AssertionError, match="holds"):
        disk.judge([request], [])


def test_disk_judge_sees_a_keepalived_without_its_file(pair_place: Place) -> None:
    """A keepalived whose configuration has gone is told."""
    pair_place.server_pem.chmod(0o600)
    pair_place.config_file.chmod(0o600)
    source, disk = Requests(pair_place, random.Random(1)), Disk(pair_place)
    config = vrrp_file(pair_place)
    config.parent.mkdir()
    config.write_bytes(source.vrrp_upload().body)
    pid = config.with_suffix(".pid")
    command = pair_place.inner.command(
        *("keepalived", "--dont-fork", f"--use-file={config}", f"--pid={pid}"),
        f"--vrrp_pid={pid.with_suffix('.vrrp.pid')}",
    )
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            waiting.until(
                "keepalived", lambda: pid.exists() or None, deadline_s=_DEADLINE_S, every_s=0.05
            )
            config.unlink()
            with pytest.raises(AssertionError, match="runs without"):
                disk.judge([], [])
        finally:
            process.terminate()
