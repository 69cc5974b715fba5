# SPDX-License-Identifier: Apache-2.0
"""Labels of volumes."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amphora_agent.configdrive.volume import VOLUME_HEAD_BYTES, volume_label
from tests.support import need
from tests.unit.configdrive.documents import UNHURRIED


@pytest.mark.parametrize("label", ["config-2", "CONFIG-2"])
def test_volume_label_of_an_iso_is_read(tmp_path: Path, label: str) -> None:
    """The label that xorriso wrote is found in the head of the image."""
    need.programs("xorriso")
    (tmp_path / "tree").mkdir()
    image = tmp_path / "image"
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-V", label, "-J", "-r", "-o", image,
         tmp_path / "tree"],
        check=True, capture_output=True,
    )  # fmt: skip
    head = image.read_bytes()[:VOLUME_HEAD_BYTES]
    assert volume_label(head) == label
    assert volume_label(head[:-2048]) is None


@pytest.mark.parametrize("bits", ["12", "16", "32"])
def test_volume_label_of_a_fat_volume_is_read(tmp_path: Path, bits: str) -> None:
    """The label that mkfs.vfat wrote is found, whichever table the volume has."""
    need.programs("mkfs.vfat")
    image = tmp_path / "image"
    with image.open("wb") as stream:
        stream.truncate(64 * 1024 * 1024)
    subprocess.run(
        ["mkfs.vfat", "-F", bits, "-n", "CONFIG-2", image], check=True, capture_output=True
    )
    head = image.read_bytes()[:VOLUME_HEAD_BYTES]
    assert volume_label(head) == "CONFIG-2"


@UNHURRIED
@given(st.binary(max_size=128))
@example(b"")
def test_volume_label_of_anything_else_is_none(head: bytes) -> None:
    """Bytes without the mark of a known file system have no label."""
    if b"FAT" not in head:
        assert volume_label(head) is None
