# SPDX-License-Identifier: Apache-2.0
"""The agent is killed at any point of its work, and what is on the disk is whole.

Never is a file half written, a service running without its file, or a file there that haproxy
refuses; and what was answered has happened.
"""

import base64
import contextlib
import json
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.functional.conftest import REPOSITORY, Place
from tests.functional.haproxy_configs import listener_config
from tests.support import waiting
from tests.support.mutual_tls import RefusedError

pytestmark = pytest.mark.slow

SEED = 20_260_930
KILLS_AT_STEPS = 480
KILLS_OF_SERVER = 40
LBS = tuple(str(uuid.UUID(int=number, version=4)) for number in (1, 2, 3))
CERTIFICATES = (f"{'a1' * 20}.pem", f"{'b2' * 20}.pem")
_DEADLINE_S = 30

Content = bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request, and which files it leaves how.

    Attributes:
        writes: contents of files after success; None for those that are gone then.
    """

    method: str
    path: str
    body: bytes = b""
    writes: dict[Path, Content] = field(default_factory=dict)


class Requests:
    """Makes requests at random."""

    def __init__(self, place: Place, dice: random.Random) -> None:
        self._place = place
        self._dice = dice
        self._pems = [place.pki.amphora_pem(place.amphora_id) for _ in range(3)]
        self._config = place.config_file.read_bytes()

    def some(self) -> list[Request]:
        """A short sequence."""
        kinds = (
            *((self.upload, 5), (self._action, 4), (self.certificate, 6), (self._forget, 2)),
            *((self._delete, 2), (self._server_pem, 1), (self._agent_config, 1)),
        )
        chosen = self._dice.choices(
            [kind for kind, _weight in kinds],
            [weight for _kind, weight in kinds],
            k=self._dice.randint(1, 4),
        )
        return [kind() for kind in chosen]

    def removal(self) -> list[Request]:
        """Removes all load balancers."""
        return [self._delete(lb_id) for lb_id in LBS]

    def upload(self) -> Request:
        lb_id = self._dice.choice(LBS)
        owner = self._dice.choice(("1.0/loadbalancer", "0.5/listeners"))
        path = f"/{owner}/{self._place.amphora_id}/{lb_id}/haproxy"
        if self._dice.random() < 0.2:
            return Request(method="PUT", path=path, body=b"nonsense\n")
        config = listener_config(self._place.base, lb_id, vip="127.0.0.1", ports={"one": 8081})
        port = 8000 + 10 * LBS.index(lb_id) + self._dice.randrange(10)
        config = config.replace(b":80\n", b":%d\n" % port) + self._filler()
        file = self._place.base / lb_id / "haproxy.cfg"
        return Request(method="PUT", path=path, body=config, writes={file: config})

    def _action(self) -> Request:
        action = self._dice.choice(("start", "stop", "reload"))
        return Request(method="PUT", path=f"/1.0/loadbalancer/{self._dice.choice(LBS)}/{action}")

    def certificate(self) -> Request:
        path, file = self._certificate_place()
        content = self._dice.choice(self._pems) + self._filler()
        return Request(method="PUT", path=path, body=content, writes={file: content})

    def _forget(self) -> Request:
        path, file = self._certificate_place()
        return Request(method="DELETE", path=path, writes={file: None})

    def _delete(self, lb_id: str | None = None) -> Request:
        lb_id = lb_id or self._dice.choice(LBS)
        files = [self._place.base / lb_id / "haproxy.cfg"]
        files += [self._place.base / "certs" / lb_id / name for name in CERTIFICATES]
        return Request(method="DELETE", path=f"/1.0/listeners/{lb_id}", writes=dict.fromkeys(files))

    def _server_pem(self) -> Request:
        pem = self._dice.choice(self._pems)
        file = self._place.server_pem
        return Request(method="PUT", path="/1.0/certificate", body=pem, writes={file: pem})

    def _agent_config(self) -> Request:
        content = self._config + self._filler()
        file = self._place.config_file
        return Request(method="PUT", path="/1.0/config", body=content, writes={file: content})

    def _certificate_place(self) -> tuple[str, Path]:
        lb_id, name = self._dice.choice(LBS), self._dice.choice(CERTIFICATES)
        path = f"/1.0/loadbalancer/{lb_id}/certificates/{name}"
        return path, self._place.base / "certs" / lb_id / name

    def _filler(self) -> bytes:
        """A comment that makes contents differ, sometimes a long one."""
        return b"# %d\n" % self._dice.randrange(10**6) * self._dice.choice((1, 1, 1, 5000))


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
            assert status < 500, (request.method, request.path, status)
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
            assert found is None or file.stat().st_mode & 0o777 == 0o600, file
        self._judge_haproxy()

    def _judge_haproxy(self) -> None:
        for file in self._place.base.glob("*/haproxy.cfg"):
            content = file.read_bytes()
            if content not in self._accepted:
                group = self._place.base / "haproxy-default-user-group.conf"
                subprocess.run(
                    ["haproxy", "-c", "-q", "-f", str(file), "-f", str(group)],
                    check=True,
                    timeout=_DEADLINE_S,
                )
                self._accepted.add(content)
        for lb_id in self.running():
            assert (self._place.base / lb_id / "haproxy.cfg").exists(), f"{lb_id} runs without"

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


@contextmanager
def killable(place: Place) -> Iterator[subprocess.Popen[str]]:
    """The helper process that serves and is killed."""
    with place.log.open("ab") as log:
        process = subprocess.Popen(
            place.outer.command(
                *(sys.executable, "-m", "tests.support.killable_agent"),
                *("--config-file", str(place.config_file), "--netns", place.inner.name),
            ),
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield process
    finally:
        process.communicate(timeout=_DEADLINE_S)


def run(
    process: subprocess.Popen[str], requests: list[Request], kill_at: int
) -> tuple[list[int], bool]:
    """Let the helper serve; what was answered, and whether it was killed."""
    assert process.stdin is not None
    assert process.stdout is not None
    order = {
        "kill_at": kill_at,
        "requests": [
            [request.method, request.path, base64.b64encode(request.body).decode()]
            for request in requests
        ],
    }
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    return answer["statuses"], answer["killed"]


def assert_nothing_left(place: Place, disk: Disk) -> None:
    """After all load balancers are deleted there is no trace of them."""
    assert disk.running() == set()
    left = {
        str(path.relative_to(place.base))
        for path in place.base.rglob("*")
        if any(lb_id in str(path) for lb_id in LBS)
    }
    assert left == set()
    hidden = [path for path in place.directory.rglob(".*") if path.is_file()]
    assert hidden == []


def test_kill_at_any_step_leaves_the_disk_whole(fresh_place: Place) -> None:
    """Hundreds of times the agent dies before a step of its work; each time all files are whole."""
    place = fresh_place
    place.server_pem.chmod(0o600)
    place.config_file.chmod(0o600)
    dice = random.Random(SEED)
    source, disk = Requests(place, dice), Disk(place)
    kills = 0
    with killable(place) as process:
        while kills < KILLS_AT_STEPS:
            requests = source.some()
            kill_at = dice.randint(1, 20 * len(requests))
            statuses, killed = run(process, requests, kill_at)
            kills += killed
            try:
                disk.judge(requests, statuses)
            except BaseException as exc:
                told = [f"{request.method} {request.path}" for request in requests]
                exc.add_note(f"kill {kills} at step {kill_at} of {told}, answered {statuses}")
                exc.add_note(place.log.read_text(errors="replace")[-4000:])
                raise
        statuses, _killed = run(process, source.removal(), 0)
        assert statuses == [200] * len(LBS)
    assert_nothing_left(place, disk)
    assert "Traceback" not in place.log.read_text()


def test_kill_of_the_server_leaves_the_disk_whole(fresh_place: Place) -> None:
    """The agent dies while a controller talks to it over TLS, and is started anew."""
    place = fresh_place
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
            assert client.request(request.method, request.path).status == 200
        assert_nothing_left(place, disk)
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)
    assert "Traceback" not in place.log.read_text()


@pytest.mark.parametrize("half", ["haproxy.cfg", "certificate"])
def test_disk_judge_sees_a_half_written_file(fresh_place: Place, half: str) -> None:
    """The judge of the tests above is no yes-man: a file cut in half is told."""
    source, disk = Requests(fresh_place, random.Random(1)), Disk(fresh_place)
    request = source.upload() if half == "haproxy.cfg" else source.certificate()
    [(file, content)] = request.writes.items()
    assert content is not None
    file.parent.mkdir(parents=True)
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(AssertionError, match="holds"):
        disk.judge([request], [])
