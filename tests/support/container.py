# SPDX-License-Identifier: Apache-2.0
"""The root file system of the built image, booted with its own systemd in a container.

It runs at native speed what a virtual machine runs in emulation: units, their order, the agent,
haproxy, keepalived. The kernel is the host's, so that there are no modules, no udev and no IPVS,
and no config drive can be attached: what the provisioner would have taken from one lies in the root
file system before the boot, as after a first boot.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.support import need, waiting
from tests.support.configdrive import ConfigDrive, tree
from tests.support.netns import Namespace, run

_COMMAND_DEADLINE_S = 60
_STOP_DEADLINE_S = 30
_NETWORK_DATA = PurePosixPath("openstack/latest/network_data.json")
_STATE = PurePosixPath("var/lib/amphora-provision")
_CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))

# All mounts belong to the process and go with it. nspawn wants a pure cgroup2 tree, and a cgroup
# below its top.
_START = """
set -e
umount --recursive --lazy /sys/fs/cgroup 2> /dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$CGROUP"
echo $$ > "/sys/fs/cgroup/$CGROUP/cgroup.procs"
mkdir -p "$DIRECTORY/lower" "$DIRECTORY/root"
mount -o "ro,loop,offset=$OFFSET" "$DISK" "$DIRECTORY/lower"
mount -t overlay overlay -o "lowerdir=$DIRECTORY/lower,upperdir=$UPPER,workdir=$WORK" \\
    "$DIRECTORY/root"
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
exec systemd-nspawn --quiet --register=no --keep-unit --boot --directory="$DIRECTORY/root" \\
    --machine="$CGROUP" --private-network --capability=all --link-journal=no --console=pipe
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """The image as a raw disk.

    Attributes:
        offset: of its root file system, in bytes.
    """

    path: Path
    offset: int


def raw_disk(image: Path, directory: Path) -> Disk:
    """Unpack an image, for any number of containers."""
    need.root()
    need.programs("qemu-img", "sfdisk", "systemd-nspawn", "nsenter", "unshare")
    path = directory / "disk.raw"
    run("qemu-img", "convert", "-O", "raw", str(image), str(path))
    table = json.loads(run("sfdisk", "--json", str(path)))["partitiontable"]
    root = max(table["partitions"], key=lambda partition: int(partition["size"]))
    return Disk(path=path, offset=int(root["start"]) * 512)


class Container:
    """A booted root file system.

    Attributes:
        pid: of its first process, as the host numbers it.
    """

    def __init__(self, process: subprocess.Popen[bytes], pid: int) -> None:
        self._process = process
        self._plugged: list[tuple[Namespace, str]] = []
        self.pid = pid

    @property
    def root(self) -> Path:
        """Its root directory, seen from the host."""
        return Path(f"/proc/{self.pid}/root")

    def run(self, command: str) -> str:
        """Run a shell command inside; its standard output.

        Raises:
            RuntimeError: it failed.
        """
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--all", "--", "/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_DEADLINE_S,
            check=False,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        if done.returncode != 0:
            raise RuntimeError(f"`{command}` exited {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def plug(self, outside: Namespace, nic: str) -> None:
        """Hot-plug a NIC of another namespace, as the hypervisor would."""
        outside.ip("link", "set", nic, "netns", str(self.pid))
        self._plugged.append((outside, nic))

    def monotonic_us(self, unit: str, when: str) -> int:
        """When a unit last changed its state, on the monotonic clock.

        Args:
            when: "InactiveExit" as its start began, "ActiveEnter" as it was done.
        """
        shown = self.run(f"systemctl show --value --property={when}TimestampMonotonic {unit}")
        return int(shown)

    def kill(self) -> None:
        """Pull the plug."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait(timeout=_STOP_DEADLINE_S)
        # The kernel takes a namespace apart when it has time, and its NICs with it: the next boot
        # would find the name taken, and others an address that still answers.
        while self._plugged:
            outside, nic = self._plugged.pop()
            outside.remove_nic(nic)


def inject(drive: ConfigDrive, upper: Path) -> None:
    """Put what a first boot takes from a config drive where it puts it."""
    for path, content in drive.files.items():
        _write(upper / PurePosixPath(path).relative_to("/"), content)
    _write(upper / _STATE / "instance-id", f"{drive.instance_id}\n".encode())
    _write(upper / _STATE / "network_data.json", tree(drive)[_NETWORK_DATA])
    _write(upper / "etc/hostname", f"{drive.name}\n".encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@contextmanager
def boot(
    disk: Disk, directory: Path, *, inside: Namespace, nics: Sequence[str]
) -> Iterator[Container]:
    """Boot a container; it is gone afterwards, and what it wrote stays in `directory`.

    Args:
        directory: of this container alone; a second boot goes on with what the first wrote.
        inside: holds `nics`, which the container has as soon as its systemd runs.
    """
    upper, work = directory / "upper", directory / "work"
    upper.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    # As the root directory of the image.
    upper.chmod(0o755)
    cgroup = f"amphora-{secrets.token_hex(4)}"
    variables = {
        "CGROUP": cgroup,
        "DIRECTORY": str(directory),
        "DISK": str(disk.path),
        "OFFSET": str(disk.offset),
        "UPPER": str(upper),
        "WORK": str(work),
    }
    with (directory / "container.log").open("ab") as log:
        process = subprocess.Popen(
            inside.command("unshare", "--mount", "--propagation=private", "sh", "-c", _START),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **variables},
        )
    try:
        container = Container(process, _first_process(process, directory))
        try:
            for nic in nics:
                container.plug(inside, nic)
            yield container
        finally:
            container.kill()
    finally:
        process.kill()
        process.wait(timeout=_STOP_DEADLINE_S)
        _remove_cgroup(cgroup)


def _first_process(process: subprocess.Popen[bytes], directory: Path) -> int:
    """Process id of the container's systemd."""

    def look() -> int | None:
        if process.poll() is not None:
            said = (directory / "container.log").read_text(errors="replace")
            raise RuntimeError(f"the container ended with status {process.returncode}: {said}")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        return None

    return waiting.until("systemd in the container", look, deadline_s=60, every_s=0.05)


def _remove_cgroup(name: str) -> None:
    """Remove the empty cgroups that a container leaves."""
    for top in _CGROUPS:
        for directory, _names, _files in os.walk(top / name, topdown=False):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
