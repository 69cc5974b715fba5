# SPDX-License-Identifier: Apache-2.0
"""The agent's service manager where no systemd runs: the same programs, started as children.

The real haproxy and keepalived run in the real namespace with the options of their units; only
systemd's own work (order, restart, limits) is not there.
"""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from amphora_agent.errors import CommandFailed
from amphora_agent.layout import KEEPALIVED_UNIT, NETNS_UNIT, Layout

_DEADLINE_S = 20.0
_POLL_S = 0.02
_KEEPALIVED = "/usr/sbin/keepalived"
_DHCP_CONFIG = (
    Path(__file__).resolve().parents[2]
    / "elements/amphora-agent/static/usr/lib/amphora/dhcpcd.conf"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Program:
    """How a unit is run.

    Attributes:
        enters: it goes into the namespace by itself.
        is_told_apart: `mark` is that of no other test's either.
        mark: stands in the command line of the unit's own process and of no other unit's.
        ready: exists once it serves.
        reload: what asks it to read its configuration again.
        stale: removed before it starts.
    """

    argv: tuple[str, ...]
    pid: Path
    ready: Path
    log: Path
    mark: str
    reload: signal.Signals
    enters: bool = False
    stale: tuple[Path, ...] = ()
    is_told_apart: bool = True

    @property
    def stopping(self) -> Path:
        """Exists while it is told to end, and outlives who did so."""
        return self.pid.with_suffix(".stopping")


class ProcessServices:
    """Runs units as processes in a namespace.

    Args:
        layout: where configurations lie.
        netns: the namespace, which must exist.
        haproxy: the program.
    """

    def __init__(self, layout: Layout, netns: str, haproxy: Path) -> None:
        self._layout = layout
        self._netns = netns
        self._haproxy = haproxy
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, unit: str) -> None:
        """See amphora_agent.system.services.Services."""
        if unit == NETNS_UNIT or self.is_active(unit):
            return
        program = self._program(unit)
        # As systemd: a stop that is under way, whoever asked for it, comes first.
        if program.stopping.exists():
            self.stop(unit)
        # One that died by itself, or by a test's hand, is still to be waited for.
        if dead := self._children.pop(unit, None):
            dead.wait(timeout=_DEADLINE_S)
        # Whose start an agent was killed within belongs to nobody; systemd would have it still.
        _end_all(program)
        for stale in program.stale:
            stale.unlink(missing_ok=True)
        enter = () if program.enters else ("ip", "netns", "exec", self._netns)
        with program.log.open("wb") as output:
            process = subprocess.Popen(
                [*enter, *program.argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._children[unit] = process
        deadline = time.monotonic() + _DEADLINE_S
        while not (program.ready.exists() and self._told_pid(program) is not None):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise CommandFailed(
                    f"{unit} did not start",
                    returncode=process.returncode,
                    output=program.log.read_text(errors="replace"),
                )
            time.sleep(_POLL_S)

    def request(self, unit: str) -> None:
        """See amphora_agent.system.services.Services; here nothing has to wait for who asks."""
        self.start(unit)

    def stop(self, unit: str) -> None:
        """See amphora_agent.system.services.Services."""
        pid = self._pid(unit)
        if pid is None:
            if dead := self._children.pop(unit, None):
                dead.wait(timeout=_DEADLINE_S)
            if unit != NETNS_UNIT:
                _end_all(self._program(unit))
                self._program(unit).stopping.unlink(missing_ok=True)
            return
        stopping = self._program(unit).stopping
        stopping.touch()
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _DEADLINE_S
        while self._pid(unit) is not None:
            if time.monotonic() > deadline:
                raise CommandFailed(f"{unit} did not stop", returncode=None, output=f"pid {pid}")
            time.sleep(_POLL_S)
        if child := self._children.pop(unit, None):
            child.wait(timeout=_DEADLINE_S)
        # As systemd: what the first process has left of its group does not outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        _end_all(self._program(unit))
        stopping.unlink(missing_ok=True)

    def reload(self, unit: str) -> None:
        """See amphora_agent.system.services.Services."""
        pid = self._pid(unit)
        if pid is None:
            raise CommandFailed(f"{unit} is not active", returncode=1, output="")
        os.kill(pid, self._program(unit).reload)

    def restart(self, unit: str) -> None:
        """See amphora_agent.system.services.Services."""
        self.stop(unit)
        self.start(unit)

    def is_active(self, unit: str) -> bool:
        """See amphora_agent.system.services.Services."""
        if unit == NETNS_UNIT or self._program(unit).stopping.exists():
            return False
        return self._pid(unit) is not None

    def _program(self, unit: str) -> _Program:
        name, _, instance = unit.removesuffix(".service").partition("@")
        if name == "haproxy":
            return self._haproxy_program(instance)
        if name == "amphora-dhcp":
            return _dhcp_program(self._layout.interfaces, instance)
        if unit == KEEPALIVED_UNIT:
            config, pid = self._layout.keepalived_config, self._layout.keepalived_pid
            # The usual places are the machine's, where two amphorae cannot share them.
            files = (f"--{name}_pid={pid.with_suffix(f'.{name}.pid')}" for name in ("vrrp", "bfd"))
            program = _keepalived_program(config, pid, f"--namespace={self._netns}", *files)
            return replace(program, enters=True)
        if name == "octavia-keepalivedlvs":
            pid, vrrp, check = self._layout.lvs_pids(instance)
            more = (f"--vrrp_pid={vrrp}", f"--checkers_pid={check}")
            return _keepalived_program(self._layout.lvs_config(instance), pid, *more)
        raise CommandFailed(f"there is no unit {unit}", returncode=5, output="")

    def _haproxy_program(self, lb_id: str) -> _Program:
        config, pid = self._layout.haproxy_config(lb_id), self._layout.haproxy_pid(lb_id)
        environment = self._layout.haproxy_environment(lb_id)
        lines = environment.read_text().split() if environment.exists() else []
        peer = dict(line.split("=", maxsplit=1) for line in lines).get("HAPROXY_PEER", "")
        return _Program(
            argv=(
                *(str(self._haproxy), "-W", "-f", str(config)),
                *("-f", str(self._layout.user_group), "-p", str(pid), "-L", peer, "-db"),
                *("-S", f"{self._layout.master_socket(lb_id)},mode,600,level,admin"),
            ),
            pid=pid,
            ready=self._layout.stats_socket(lb_id),
            log=self._layout.lb_dir(lb_id) / "haproxy.log",
            mark=str(config),
            reload=signal.SIGUSR2,
        )

    def _pid(self, unit: str) -> int | None:
        """The first process of a unit, if it is alive."""
        if unit == NETNS_UNIT:
            return None
        child = self._children.get(unit)
        if child is not None and child.poll() is None:
            return child.pid
        return self._told_pid(self._program(unit))

    def _told_pid(self, program: _Program) -> int | None:
        """The process that a program's own file names, if it is alive."""
        try:
            pid = int(program.pid.read_text().split()[0])
        except (FileNotFoundError, IndexError):
            # haproxy writes it anew at a reload, and for a moment there is none.
            return _leader(program) if program.ready.exists() else None
        except (OSError, ValueError):
            return None
        return pid if program.mark.encode() in _command(pid) else None


def _leader(program: _Program) -> int | None:
    """The first process of a program: it leads a session of its own."""
    if not program.is_told_apart:
        return None
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and program.mark.encode() in _command(int(entry.name)):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(entry.name)) == int(entry.name):
                    return int(entry.name)
    return None


def _end_all(program: _Program) -> None:
    """End whatever of a program still runs, with all that it has started.

    Raises:
        CommandFailed: something of it outlives SIGKILL.
    """
    deadline = time.monotonic() + _DEADLINE_S
    while (pid := _leader(program)) is not None:
        if time.monotonic() > deadline:
            said = " ".join(program.argv)
            raise CommandFailed(f"{said} does not end", returncode=None, output=f"pid {pid}")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def _command(pid: int) -> bytes:
    """What a process was started with; nothing of one that has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _dhcp_program(directory: Path, interface: str) -> _Program:
    pid = directory / f"{interface}.dhcp"
    # `ip netns exec` has made a mount namespace: the host's own leases are not touched.
    private = " && ".join(
        f"mkdir -p {path} && mount -t tmpfs tmpfs {path}"
        for path in ("/run/dhcpcd", "/var/lib/dhcpcd")
    )
    return _Program(
        argv=(
            *("sh", "-c", f'{private} && echo $$ > "$0" && exec "$@"', str(pid)),
            *("dhcpcd", "--nobackground", "--config", str(_DHCP_CONFIG), interface),
        ),
        pid=pid,
        ready=pid,
        log=directory / f"{interface}.dhcp.log",
        mark="dhcpcd",
        is_told_apart=False,
        reload=signal.SIGHUP,
    )


def _keepalived_program(config: Path, pid: Path, *more: str) -> _Program:
    return _Program(
        argv=(
            *(_KEEPALIVED, "--dont-fork", "--log-console", f"--use-file={config}"),
            *(f"--pid={pid}", *more),
        ),
        pid=pid,
        ready=pid,
        stale=(pid, *(Path(option.partition("=")[2]) for option in more if "_pid=" in option)),
        log=config.with_suffix(".log"),
        mark=f"--use-file={config}",
        reload=signal.SIGHUP,
    )
