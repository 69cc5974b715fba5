# SPDX-License-Identifier: Apache-2.0
"""A machine for the cloud's programs: namespaces whose root directory is what make_root.sh made.

What is written there lies over that directory, in memory, and goes with the machine. All processes
live in a PID namespace: when its first process ends, the kernel ends the others. That one waits for
the end of its standard input, so that nothing outlives the test, however the test ends.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import waiting
from tests.support.netns import Namespace

_COMMAND_DEADLINE_S = 120
_STOP_DEADLINE_S = 30
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# A mount of the scratch directory hides nothing: it is made for this.
_START = """
set -e
mount -t tmpfs tmpfs "$SCRATCH"
mkdir "$SCRATCH/upper" "$SCRATCH/work" "$SCRATCH/root"
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" \\
    "$SCRATCH/root"
cd "$SCRATCH/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
chmod 1777 tmp
exec chroot . sh -c 'echo started; read -r _'
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where the programs of a cloud run.

    Attributes:
        pid: of its first process, as the host numbers it.
        namespace: the network; addresses and ports are of this machine alone.
        logs: what each service prints, one file each.
        services: what was started, by name; each entry stands for the process inside.
    """

    pid: int
    namespace: Namespace
    logs: Path
    services: dict[str, subprocess.Popen[bytes]]

    def path(self, inside: str) -> Path:
        """A path of the machine, as the host sees it."""
        return Path(f"/proc/{self.pid}/root") / inside.lstrip("/")

    def write(self, inside: str, text: str) -> None:
        """Write a file that all may read."""
        self.path(inside).write_text(text)

    def run(self, *argv: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
        """Run a program that must succeed; its standard output.

        Raises:
            RuntimeError: it failed.
        """
        done = subprocess.run(
            self._entered(*argv),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_COMMAND_DEADLINE_S,
            check=False,
            env=_environment(environment),
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"{' '.join(argv)} exited {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout

    def start(self, name: str, *argv: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a service; it is not awaited, and ends with the machine."""
        with self._log(name).open("ab") as log:
            self.services[name] = subprocess.Popen(
                self._entered(*argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(environment),
            )

    def await_socket(self, name: str, port: int, *, deadline_s: float) -> None:
        """Wait until a service listens on a TCP port.

        Raises:
            DeadlinePassedError: it does not; with the end of what it printed.
            RuntimeError: it ended; likewise.
        """
        # A line of /proc/net/tcp: local address and port, remote ones, state 0A for LISTEN.
        listening = f":{port:04X} 00000000:0000 0A "

        def probe() -> bool | None:
            if self.services[name].poll() is not None:
                raise RuntimeError(f"{name} ended: {self.printed(name)}")
            return listening in Path(f"/proc/{self.pid}/net/tcp").read_text() or None

        try:
            waiting.until(f"{name} on {port}", probe, deadline_s=deadline_s, every_s=0.1)
        except waiting.DeadlinePassedError as exc:
            exc.add_note(self.printed(name))
            raise

    def printed(self, name: str) -> str:
        """The end of what a service printed."""
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-40:])

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _entered(self, *argv: str) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--root", "--wd",
                "--", *argv]  # fmt: skip


@contextmanager
def machine(root: Path, directory: Path, inside: Namespace) -> Iterator[Machine]:
    """Start a machine; everything in it has ended afterwards.

    Args:
        root: its root directory, only read.
        directory: for logs, and a place where the machine mounts.
        inside: its network.
    """
    scratch, logs = directory / "scratch", directory / "logs"
    scratch.mkdir()
    logs.mkdir()
    process = subprocess.Popen(
        inside.command(
            *("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", _START),
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment({"LOWER": str(root), "SCRATCH": str(scratch)}),
    )
    with process:
        started: dict[str, subprocess.Popen[bytes]] = {}
        try:
            pid = _first_process(process)
            yield Machine(pid=pid, namespace=inside, logs=logs, services=started)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            for waited in (process, *started.values()):
                waited.wait(timeout=_STOP_DEADLINE_S)
            scratch.rmdir()


def _first_process(process: subprocess.Popen[bytes]) -> int:
    """Wait until a machine runs; the process id of its first process."""
    assert process.stdout is not None
    said = process.stdout.readline()
    if said != b"started\n":
        raise RuntimeError((said + process.stdout.read()).decode(errors="replace").strip())
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0])


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Nothing of the host's, whose proxies and certificates are not those of the machine."""
    return {"PATH": _PATH, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1", **(more or {})}
