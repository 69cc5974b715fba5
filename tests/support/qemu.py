# SPDX-License-Identifier: Apache-2.0
"""A virtual machine as Nova starts it: an i440fx PC with BIOS, an overlay disk and virtio NICs.

Nova's default machine type for x86 is `pc`, in which PCI devices can be plugged at any time.
"""

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import waiting
from tests.support.accelerator import Accelerator
from tests.support.netns import Namespace, run
from tests.support.qmp import Qmp, QmpError

_QMP_DEADLINE_S = 20
_POWER_DOWN_DEADLINE_S = 120
_CONFIG_TRAY = "config-tray"
# ECMA-48: what a terminal is told beside the text.
_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Nic:
    """A virtio NIC and the tap it is connected to."""

    tap: str
    mac: str
    mtu: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineSpec:
    """What to start.

    Attributes:
        image: qcow2 that is read but never written.
        directory: for overlay, socket and logs; its path must be short (a socket's is limited).
        config_drive: ISO in the CD-ROM; None leaves the tray empty.
        cpus, memory_mb: the flavour of an amphora, with a second CPU as in the figures to beat.
    """

    image: Path
    directory: Path
    accelerator: Accelerator
    nics: tuple[Nic, ...]
    config_drive: Path | None = None
    cpus: int = 2
    memory_mb: int = 1024


class Machine:
    """A running virtual machine."""

    def __init__(self, process: subprocess.Popen[bytes], qmp: Qmp, console: Path) -> None:
        self._process = process
        self._qmp = qmp
        self._console = console
        self.powered_on = time.monotonic()

    @property
    def running(self) -> bool:
        """Whether QEMU still runs."""
        return self._process.poll() is None

    @property
    def age_s(self) -> float:
        """Seconds since the virtual power button was pressed."""
        return time.monotonic() - self.powered_on

    def console(self) -> str:
        """Everything the guest wrote to its serial port so far, without colours and blank lines."""
        written = _CONTROL_SEQUENCE.sub("", self._console.read_text(errors="replace"))
        return "\n".join(line for line in written.splitlines() if line.strip())

    def wait_for_console(self, text: str, *, deadline_s: float) -> None:
        """Wait until the guest has written `text`."""
        waiting.until(
            f"{text!r} on the console",
            lambda: True if text in self.console() else None,
            deadline_s=deadline_s,
            every_s=0.5,
        )

    def plug(self, nic: Nic) -> None:
        """Hot-plug a NIC in the two steps in which Nova (libvirt) does."""
        network, device = f"net-{nic.tap}", f"nic-{nic.tap}"
        self._qmp.execute(
            "netdev_add", type="tap", id=network, ifname=nic.tap, script="no", downscript="no"
        )
        self._qmp.execute(
            "device_add",
            driver="virtio-net-pci",
            id=device,
            netdev=network,
            mac=nic.mac,
            host_mtu=nic.mtu,
        )

    def unplug(self, nic: Nic, *, deadline_s: float) -> None:
        """Take a NIC out of the running machine; the guest has to agree."""
        network, device = f"net-{nic.tap}", f"nic-{nic.tap}"
        self._qmp.execute("device_del", id=device)

        def gone() -> bool | None:
            devices = self._qmp.execute("qom-list", path="/machine/peripheral")
            return device not in {item["name"] for item in devices} or None

        waiting.until(f"{nic.mac} to be gone", gone, deadline_s=deadline_s, every_s=0.1)
        self._qmp.execute("netdev_del", id=network)

    def insert_config_drive(self, iso: Path) -> None:
        """Put a config drive into the CD-ROM of the running machine."""
        self._qmp.execute(
            "blockdev-change-medium", id=_CONFIG_TRAY, filename=str(iso), format="raw"
        )

    def reset(self) -> None:
        """Press the reset button."""
        self._qmp.execute("system_reset")

    def power_down(self) -> None:
        """Press the power button (ACPI) and wait until the guest has shut down."""
        self._qmp.execute("system_powerdown")
        self._process.wait(timeout=_POWER_DOWN_DEADLINE_S)

    def kill(self) -> None:
        """Pull the plug: end this QEMU by its process id."""
        with contextlib.suppress(OSError):
            self._qmp.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def machine(spec: MachineSpec, inside: Namespace) -> Iterator[Machine]:
    """Start a machine in a namespace; whatever it does, it is gone afterwards.

    Raises:
        RuntimeError: QEMU ended at once; the message holds what it said.
    """
    overlay = spec.directory / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(spec.image.resolve()),
        str(overlay))  # fmt: skip
    with (spec.directory / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            inside.command(*_argv(spec, overlay)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        qmp = _connect(process, spec.directory)
        qmp.execute("cont")
        started = Machine(process, qmp, spec.directory / "console.log")
        try:
            yield started
        finally:
            started.kill()
    finally:
        process.kill()
        process.wait()


def _argv(spec: MachineSpec, overlay: Path) -> list[str]:
    """QEMU's command line; `-S` waits for "cont", so that power-on is a known moment."""
    tray = f"if=none,id=config-drive,media=cdrom,readonly=on{_medium(spec.config_drive)}"
    argv = [
        "qemu-system-x86_64", *spec.accelerator.options, "-machine", "pc",
        "-smp", str(spec.cpus), "-m", str(spec.memory_mb), "-S",
        "-nodefaults", "-no-user-config", "-display", "none", "-vga", "std", "-rtc", "base=utc",
        "-qmp", f"unix:{spec.directory / 'qmp'},server=on,wait=off",
        "-serial", f"file:{spec.directory / 'console.log'}",
        "-drive", f"if=none,id=root,file={overlay},format=qcow2,cache=writeback",
        "-device", "virtio-blk-pci,drive=root,bootindex=0",
        "-drive", tray, "-device", f"ide-cd,id={_CONFIG_TRAY},drive=config-drive",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    for nic in spec.nics:
        argv += [
            "-netdev", f"tap,id=net-{nic.tap},ifname={nic.tap},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=net-{nic.tap},mac={nic.mac},host_mtu={nic.mtu}",
        ]  # fmt: skip
    return argv


def _medium(iso: Path | None) -> str:
    return f",file={iso},format=raw" if iso else ""


def _connect(process: subprocess.Popen[bytes], directory: Path) -> Qmp:
    def attempt() -> Qmp | None:
        if process.poll() is not None:
            said = (directory / "qemu.log").read_text(errors="replace").strip()
            raise RuntimeError(f"QEMU ended with status {process.returncode}: {said}")
        with contextlib.suppress(OSError, QmpError):
            return Qmp(directory / "qmp")
        return None

    return waiting.until("QEMU's QMP socket", attempt, deadline_s=_QMP_DEADLINE_S, every_s=0.1)
