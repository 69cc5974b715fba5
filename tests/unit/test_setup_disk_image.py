# SPDX-License-Identifier: Apache-2.0
"""What has to be known of an image's file: its format and the size of its disk."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.setup import disk_image
from tests.support import need


@pytest.mark.parametrize(
    ("disk_format", "size", "gib"), [("qcow2", 2 << 30, 2), ("qcow2", (2 << 30) + 512, 3),
                                     ("raw", 1 << 20, 1)]
)  # fmt: skip
def test_format_and_size_are_those_of_qemu(
    tmp_path: Path, disk_format: str, size: int, gib: int
) -> None:
    """A file of qemu-img has its format, the size of its disk, and the digest of its bytes."""
    need.programs("qemu-img")
    path = tmp_path / "disk"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", disk_format, path, str(size)], check=True, timeout=30
    )
    found = disk_image.read(path)
    assert (found.disk_format, found.size_bytes, found.disk_gib) == (disk_format, size, gib)
    assert found.digest("sha512") == hashlib.sha512(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"QFI\xfb\0\0\0\3", "is cut off"),
        (b"QFI\xfb\0\0\0\3" + b"\0" * 40, "it has no disk"),
        (b"QFI\xfb\0\0\0\3" + b"\1" * 40, "it has a backing file"),
    ],
)
def test_file_that_is_no_whole_image_is_refused(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    """A missing, empty, cut or layered file is an error that names it."""
    path = tmp_path / "disk"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ControllerError) as caught:
        disk_image.read(path)
    assert str(path) in caught.value.message
    assert words in str(caught.value)
