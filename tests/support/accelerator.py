# SPDX-License-Identifier: Apache-2.0
"""KVM where it works, emulation elsewhere."""

import os
import subprocess
import tempfile
from enum import StrEnum
from pathlib import Path

OVERRIDE_VARIABLE = "AMPHORA_QEMU_ACCEL"

_DEADLINE_S = 15
# isa-debug-exit turns a byte b written to its port into QEMU's exit status 2b + 1.
_ALIVE_BYTE = 0x10
_ALIVE_STATUS = 2 * _ALIVE_BYTE + 1

# A boot sector that sleeps through five timer interrupts (0.3 s) and then reports. Hypervisors
# that open but do not deliver interrupts never get that far.
_BOOT_SECTOR = bytes.fromhex(
    "fb"  # sti
    "b90500"  # mov cx, 5
    "f4"  # again: hlt
    "e2fd"  # loop again
    "baf400"  # mov dx, 0xf4
    "b010"  # mov al, 0x10
    "ee"  # out dx, al
    "f4"  # halt: hlt
    "ebfd"  # jmp halt
)


class Accelerator(StrEnum):
    """How QEMU runs the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"

    @property
    def options(self) -> list[str]:
        """QEMU's options for this accelerator."""
        if self is Accelerator.KVM:
            return ["-accel", "kvm", "-cpu", "host"]
        return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]


def choose() -> Accelerator:
    """KVM if it can boot a stock kernel here, unless AMPHORA_QEMU_ACCEL says which.

    A device that opens is not enough: a hypervisor without hardware virtualisation (pvm) runs
    a boot sector well but hangs in the memory management of a kernel that was not built for
    it. So the processor must offer virtualisation and a tiny guest must run to its end.

    Raises:
        ValueError: the variable holds something else than kvm or tcg.
    """
    wanted = os.environ.get(OVERRIDE_VARIABLE)
    if wanted:
        try:
            return Accelerator(wanted)
        except ValueError as exc:
            raise ValueError(f"{OVERRIDE_VARIABLE}={wanted}: use kvm or tcg") from exc
    usable = (
        os.access("/dev/kvm", os.R_OK | os.W_OK)
        and has_virtualisation(Path("/proc/cpuinfo").read_text())
        and boots(Accelerator.KVM)
    )
    return Accelerator.KVM if usable else Accelerator.TCG


def has_virtualisation(cpuinfo: str) -> bool:
    """Whether /proc/cpuinfo lists Intel's or AMD's virtualisation among the processor's flags."""
    for line in cpuinfo.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            return not {"vmx", "svm"}.isdisjoint(flags.split())
    return False


def boots(accelerator: Accelerator) -> bool:
    """Whether a guest of 512 bytes reaches its end in time."""
    with tempfile.NamedTemporaryFile(prefix="boot-sector-") as disk:
        disk.write(_BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa")
        disk.flush()
        argv = [
            "qemu-system-x86_64", *accelerator.options, "-machine", "pc", "-m", "16",
            "-nodefaults", "-no-user-config", "-display", "none",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
            "-drive", f"file={disk.name},format=raw,if=ide,snapshot=on",
        ]  # fmt: skip
        try:
            done = subprocess.run(argv, capture_output=True, timeout=_DEADLINE_S, check=False)
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == _ALIVE_STATUS
