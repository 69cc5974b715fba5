# SPDX-License-Identifier: Apache-2.0
"""What has to be known of the file of a disk image: format, size of the disk, digest."""

import hashlib
import struct
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from amphora_controller.errors import ControllerError

GIB = 1024**3

# docs/interop/qcow2.txt of QEMU: magic, version, two fields on a backing file, cluster bits, size.
_QCOW2 = struct.Struct(">4sIQIIQ")
_QCOW2_MAGIC = b"QFI\xfb"


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskImage:
    """A file of a disk image.

    Attributes:
        disk_format: qcow2 or raw, as Glance calls it.
        size_bytes: of the disk in it.
    """

    path: Path
    disk_format: str
    size_bytes: int

    @property
    def disk_gib(self) -> int:
        """What a flavor's disk needs, in GiB."""
        return -(-self.size_bytes // GIB)

    def digest(self, algorithm: str) -> str:
        """Hexadecimal digest of the file.

        Args:
            algorithm: sha512 or another one of hashlib.
        """
        with _opened(self.path) as stream:
            return hashlib.file_digest(stream, algorithm).hexdigest()


def read(path: Path) -> DiskImage:
    """Look at a file.

    Raises:
        ControllerError: it cannot be read, or its disk is empty or needs another file.
    """
    with _opened(path) as stream:
        head = stream.read(_QCOW2.size)
    if not head.startswith(_QCOW2_MAGIC):
        size = path.stat().st_size
        if not size:
            raise ControllerError(f"{path} is empty", "build it again: ./build.sh")
        return DiskImage(path=path, disk_format="raw", size_bytes=size)
    if len(head) < _QCOW2.size:
        raise ControllerError(f"{path} is cut off", "build it again: ./build.sh")
    _, _, backing, _, _, size = _QCOW2.unpack(head)
    if backing or not size:
        raise ControllerError(
            f"{path} is no whole image: it has {'a backing file' if backing else 'no disk'}",
            "qemu-img convert -O qcow2 makes a whole one",
        )
    return DiskImage(path=path, disk_format="qcow2", size_bytes=size)


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as exc:
        raise ControllerError(
            f"the image {path} cannot be read", f"{exc.strerror}; ./build.sh makes one"
        ) from exc
