# SPDX-License-Identifier: Apache-2.0
"""What the provisioner does to the operating system.

Every function that changes files takes the root below which it does so, so that an image's tree
that is not running can be provisioned as well.
"""

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.configdrive import volume
from amphora_agent.errors import AgentError
from amphora_agent.system import files, process

LIVE_ROOT = Path("/")

_BLOCK_DEVICES = Path("/sys/class/block")
_POLL_S = 0.1
_MOUNT_TIMEOUT_S = 10.0

# Nova allows 10 kB by default for an injected file, and operators may raise that.
_FILE_BYTES_MAX = 16 * 1024 * 1024


def find_drive(*, wait_s: float) -> Path | None:
    """The block device that holds a config drive.

    Devices are read themselves, because udev may not have made its links by label yet; a driver
    that is still probing is waited for.

    Args:
        wait_s: seconds after which the search is given up.
    """
    deadline = time.monotonic() + wait_s
    while True:
        for device in _block_devices():
            if _label(device).casefold() == volume.VOLUME_LABEL:
                return device
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL_S)


def _block_devices() -> list[Path]:
    """Devices with a medium, optical drives first: that is what Nova makes by default."""
    found = []
    for entry in _BLOCK_DEVICES.iterdir() if _BLOCK_DEVICES.is_dir() else ():
        # Opening a floppy drive without a floppy takes seconds; RAM disks begin empty.
        if entry.name.startswith(("fd", "ram", "zram")):
            continue
        with contextlib.suppress(OSError):
            if (entry / "size").read_text().strip() != "0":
                found.append(Path("/dev", entry.name.replace("!", "/")))
    return sorted(found, key=lambda device: (not device.name.startswith("sr"), device.name))


def _label(device: Path) -> str:
    """The label of the volume; empty for a device without one, or that cannot be read."""
    try:
        with device.open("rb", buffering=0) as stream:
            head = stream.read(volume.VOLUME_HEAD_BYTES)
    except OSError:
        return ""
    return volume.volume_label(head) or ""


@contextlib.contextmanager
def opened(source: Path, mount_point: Path) -> Iterator[Path]:
    """The top of a config drive: a directory as it is, a device or an image mounted read-only.

    Raises:
        CommandFailed: it cannot be mounted.
        OSError: it does not exist, or the mount point cannot be made.
    """
    if source.is_dir():
        yield source
        return
    source.stat()
    mount_point.mkdir(parents=True, exist_ok=True)
    try:
        with _mounted(source, mount_point):
            yield mount_point
    finally:
        with contextlib.suppress(OSError):
            mount_point.rmdir()


@contextlib.contextmanager
def _mounted(source: Path, mount_point: Path) -> Iterator[None]:
    options = "ro,nodev,noexec,nosuid"
    process.run(["mount", "-o", options, str(source), str(mount_point)], timeout_s=_MOUNT_TIMEOUT_S)
    try:
        yield
    finally:
        # Lazy, because what has been read is worth more than the reason of a failure here.
        process.run(["umount", "--lazy", str(mount_point)], timeout_s=_MOUNT_TIMEOUT_S, check=False)


def read(path: Path) -> bytes:
    """The content of a file of the drive.

    Raises:
        FileNotFoundError: there is none.
        AgentError: it is not a regular file, or far larger than anything that Nova makes.
    """
    if path.exists() and not path.is_file():
        raise AgentError(f"{path.name} is not a regular file")
    with path.open("rb") as stream:
        data = stream.read(_FILE_BYTES_MAX + 1)
    if len(data) > _FILE_BYTES_MAX:
        raise AgentError(f"{path.name} is larger than {_FILE_BYTES_MAX} bytes")
    return data


def below(root: Path, path: Path) -> Path:
    """An absolute path, seen from another root."""
    return root / path.relative_to(LIVE_ROOT)


def write(path: Path, data: bytes, *, mode: int) -> bool:
    """Write a file, with the directories above it; False when it was like that already."""
    if _has(path, data, mode):
        return False
    make_directory(path.parent)
    files.write_atomic(path, data, mode=mode)
    return True


def _has(path: Path, data: bytes, mode: int) -> bool:
    try:
        state = path.lstat()
        return state.st_mode == stat.S_IFREG | mode and path.read_bytes() == data
    except OSError:
        return False


def make_directory(path: Path, *, mode: int = 0o755) -> None:
    """Make a directory and those above it, whatever the umask is; leave existing ones alone."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=mode)
    path.chmod(mode)


def prune(directory: Path, pattern: str, *, keep: frozenset[str]) -> None:
    """Remove the files that match a pattern, except those whose names are given."""
    for path in directory.glob(pattern):
        if path.name not in keep:
            files.remove(path)


def set_hostname(root: Path, name: str) -> None:
    """Name the host, from now on and for the next boots."""
    write(root / "etc/hostname", f"{name}\n".encode(), mode=0o644)
    if root == LIVE_ROOT and os.uname().nodename != name:
        import socket  # noqa: PLC0415 - only the first boot needs it

        socket.sethostname(name)


def set_timezone(root: Path, zone: str) -> bool:
    """Point /etc/localtime at a zone; False when the image does not have that zone."""
    if not (root / "usr/share/zoneinfo" / zone).is_file():
        return False
    link = root / "etc/localtime"
    target = f"../usr/share/zoneinfo/{zone}"
    if not link.is_symlink() or str(link.readlink()) != target:
        make_directory(link.parent)
        temporary = link.with_name(".localtime.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        files.rename(temporary, link)
    return True
