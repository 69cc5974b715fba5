# SPDX-License-Identifier: Apache-2.0
"""A network namespace of the test's own, with bridges and taps in it.

Everything a test sends stays inside. Names are unique per run, and what is left behind is an error.
"""

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_COMMAND_DEADLINE_S = 30


class LeftoverError(AssertionError):
    """A test ended but its processes or its namespace did not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Namespace:
    """A network namespace, known to `ip netns` by its name."""

    name: str

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` inside; its process id is that of the program."""
        return ["ip", "netns", "exec", self.name, *argv]

    def ip(self, *argv: str) -> None:
        """Run `ip` on this namespace."""
        run("ip", "-netns", self.name, *argv)

    def pids(self) -> list[int]:
        """Processes that live inside, as `ip netns pids` has them, but without one more of them."""
        there = Path("/run/netns", self.name).stat()
        running = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
        return [pid for pid in running if _is_in(pid, there)]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run the calling thread inside, so that the sockets it opens belong there for good."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as home,
            Path("/run/netns", self.name).open("rb") as there,
        ):
            _set_namespace(there.fileno())
            try:
                yield
            finally:
                _set_namespace(home.fileno())

    def add_bridge(self, name: str, address: IPv4Interface | IPv6Interface) -> None:
        """Add a bridge that has `address` itself and is up.

        Its MAC is given: left alone it would be that of whichever port has the lowest one, change
        as ports come and go, and leave everybody else with a stale neighbour for half a minute.
        """
        self.ip("link", "add", "name", name, "address", _random_mac(), "type", "bridge")
        self.add_address(name, address)
        self.ip("link", "set", name, "up")

    def add_address(self, link: str, address: IPv4Interface | IPv6Interface) -> None:
        """Give a link one more address; an IPv6 one is usable at once."""
        options = ["nodad"] if address.version == 6 else []
        self.ip("address", "add", str(address), "dev", link, *options)

    def add_tap(self, name: str, *, bridge: str) -> None:
        """Add a tap that a virtual machine can open, as a port of `bridge`."""
        self.ip("tuntap", "add", "dev", name, "mode", "tap")
        self.ip("link", "set", name, "master", bridge, "up")

    def add_nic(self, name: str, *, mac: str, mtu: int, bridge: str) -> None:
        """Add a NIC whose other end is a port of `bridge`; a container can take it."""
        port = f"p-{name}"
        self.ip("link", "add", name, "address", mac, "mtu", str(mtu), "type", "veth",
                "peer", "name", port)  # fmt: skip
        self.ip("link", "set", port, "mtu", str(mtu), "master", bridge, "up")

    def remove_nic(self, name: str) -> None:
        """Remove a NIC wherever its other end is by now, if it is still there."""
        port = f"p-{name}"
        found = run("ip", "-netns", self.name, "-oneline", "link", "show", "type", "veth")
        if f" {port}@" in found or f" {port}:" in found:
            # Its namespace may go in this very moment, and the NIC with it.
            with contextlib.suppress(RuntimeError):
                self.ip("link", "delete", port)


@contextmanager
def namespace(label: str) -> Iterator[Namespace]:
    """Make a namespace with its loopback up, and remove it.

    Raises:
        LeftoverError: processes were still inside at the end; they have been killed.
    """
    made = Namespace(name=f"test-{label}-{secrets.token_hex(4)}")
    run("ip", "netns", "add", made.name)
    try:
        made.ip("link", "set", "lo", "up")
        yield made
    finally:
        left = made.pids()
        names = [_program(pid) for pid in left]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        run("ip", "netns", "delete", made.name)
    if left:
        raise LeftoverError(f"left running in namespace {made.name}: {', '.join(names)}")


def run(*argv: str) -> str:
    """Run a program that must succeed; its standard output."""
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=_COMMAND_DEADLINE_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} exited {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _random_mac() -> str:
    """A unicast MAC address that is administered locally."""
    return bytes([0x02, *secrets.token_bytes(5)]).hex(":")


def _is_in(pid: int, namespace: os.stat_result) -> bool:
    """Whether a process lives in a namespace; one that has ended lives nowhere."""
    try:
        return os.path.samestat(Path(f"/proc/{pid}/ns/net").stat(), namespace)
    except OSError:
        return False


def _program(pid: int) -> str:
    """What a process runs, for a message."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except FileNotFoundError:
        return f"{pid} (ended meanwhile)"
    return f"{pid} ({words.decode(errors='replace').strip()})"


def _set_namespace(handle: int) -> None:
    """setns(2) of the calling thread; the standard library offers it from Python 3.12 on only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")
