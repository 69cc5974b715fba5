# SPDX-License-Identifier: Apache-2.0
"""Facts about the machine and its programs."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from amphora_agent import parse
from amphora_agent.errors import AgentError
from amphora_agent.system import namespace, process

# What tuned writes; a longer file is not one of its.
_TUNED_PROFILE = Path("/etc/tuned/active_profile")
_TUNED_PROFILE_MAX_BYTES = 1024
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Versions:
    """Versions of the programs; empty for one that is not installed."""

    haproxy: str
    keepalived: str
    ipvsadm: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Sizes in kB, as the controller's TLS cache computation expects them."""

    total: int
    free: int
    buffers: int
    cached: int
    shared: int
    slab: int
    swap_used: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """Number of processors, and time spent by all of them since boot, in jiffies."""

    count: int
    total: int
    user: int
    system: int
    soft_irq: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Bytes that an interface has sent and received."""

    tx: int
    rx: int


class Host(Protocol):
    """The machine, read anew at every call."""

    def hostname(self) -> str:
        """The name of the machine."""

    def versions(self) -> Versions:
        """Versions of the programs in the image."""

    def memory(self) -> Memory:
        """Memory in use."""

    def cpu(self) -> Cpu:
        """Processors and their time."""

    def disk(self) -> tuple[int, int]:
        """Bytes used and available on the root file system."""

    def load(self) -> tuple[float, float, float]:
        """Load averages over 1, 5 and 15 minutes."""

    def traffic(self) -> dict[str, Traffic]:
        """Counters of the interfaces of the amphora's namespace, without lo."""

    def tuned_profiles(self) -> str:
        """Active tuned profiles, separated by spaces; empty without tuned."""


class LinuxHost:
    """This machine.

    Args:
        haproxy: the haproxy program.
        netns: the namespace whose interfaces are reported.
    """

    def __init__(self, haproxy: Path, netns: str) -> None:
        self._haproxy = haproxy
        self._netns = netns
        self._versions: dict[tuple[str, float], str] = {}

    def hostname(self) -> str:
        """See Host."""
        return socket.gethostname()

    def versions(self) -> Versions:
        """See Host."""
        return Versions(
            haproxy=self._version(str(self._haproxy), "-v"),
            keepalived=self._version("/usr/sbin/keepalived", "--version"),
            ipvsadm=self._version("/usr/sbin/ipvsadm", "--version"),
        )

    def memory(self) -> Memory:
        """See Host."""
        import psutil  # noqa: PLC0415  # only `details` needs it

        memory = psutil.virtual_memory()
        swap = psutil.swap_memory()
        return Memory(
            total=memory.total // 1024,
            free=memory.free // 1024,
            buffers=memory.buffers // 1024,
            cached=memory.cached // 1024,
            shared=memory.shared // 1024,
            slab=memory.slab // 1024,
            swap_used=swap.used // 1024,
        )

    def cpu(self) -> Cpu:
        """See Host."""
        import psutil  # noqa: PLC0415  # only `details` needs it

        times = psutil.cpu_times()
        return Cpu(
            count=psutil.cpu_count() or 1,
            total=round(sum(times[:8]) * _TICKS_PER_S),
            user=round(times.user * _TICKS_PER_S),
            system=round(times.system * _TICKS_PER_S),
            soft_irq=round(times.softirq * _TICKS_PER_S),
        )

    def disk(self) -> tuple[int, int]:
        """See Host."""
        import psutil  # noqa: PLC0415  # only `details` needs it

        usage = psutil.disk_usage("/")
        return usage.used, usage.free

    def load(self) -> tuple[float, float, float]:
        """See Host."""
        return os.getloadavg()

    def traffic(self) -> dict[str, Traffic]:
        """See Host."""
        if not namespace.exists(self._netns):
            return {}
        text = namespace.call(self._netns, Path("/proc/thread-self/net/dev").read_text)
        return {
            name: Traffic(tx=sent, rx=received)
            for name, received, sent in parse.net_dev(text)
            if name != "lo"
        }

    def tuned_profiles(self) -> str:
        """See Host."""
        try:
            with _TUNED_PROFILE.open("rb") as stream:
                return stream.read(_TUNED_PROFILE_MAX_BYTES).decode(errors="replace").strip()
        except OSError:
            return ""

    def _version(self, program: str, option: str) -> str:
        try:
            changed = Path(program).stat().st_mtime
        except OSError:
            return ""
        key = (program, changed)
        if key not in self._versions:
            try:
                done = process.run([program, option], timeout_s=10.0, check=False)
                self._versions[key] = parse.program_version(done.output)
            except AgentError:
                return ""
        return self._versions[key]
