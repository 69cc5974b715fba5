# SPDX-License-Identifier: Apache-2.0
"""The boot code of a disk image: sectors that point at one another, and nothing else changed."""

import struct
from pathlib import Path

import pytest

from image import boot_sectors
from image.boot_sectors import SECTOR_BYTES, BootCodeError

BOOT = b"\xeb\x63\x90" + bytes(range(256))[3:] + bytes(254) + b"\x55\xaa"
CORE = b"first" + bytes(SECTOR_BYTES - 5) + b"rest" * 300
FIRST_SECTOR = 2048


def test_boot_sector_points_at_the_core_image() -> None:
    """The number of the core image's sector stands where boot.img looks for it."""
    sector = boot_sectors.boot_sector(BOOT, current=bytes(SECTOR_BYTES), core_sector=FIRST_SECTOR)

    assert struct.unpack_from("<Q", sector, 0x5C) == (FIRST_SECTOR,)
    assert sector[0x66:0x68] == b"\x90\x90"
    assert sector[:0x5C] == BOOT[:0x5C]


def test_boot_sector_keeps_the_partition_table() -> None:
    """Disk id and partitions are those of the disk, not of boot.img."""
    current = bytes(0x1B8) + b"\x11" * 70 + b"\x55\xaa"

    sector = boot_sectors.boot_sector(BOOT, current=current, core_sector=FIRST_SECTOR)

    assert sector[0x1B8:] == current[0x1B8:]
    assert len(sector) == SECTOR_BYTES


@pytest.mark.parametrize("bad", [b"", BOOT[:-1], BOOT[:-2] + b"\0\0", BOOT + BOOT])
def test_boot_sector_refuses_what_is_none(bad: bytes) -> None:
    """A file of another size, or without the signature, is not written to a disk."""
    with pytest.raises(BootCodeError, match="not a boot sector"):
        boot_sectors.boot_sector(bad, current=bytes(SECTOR_BYTES), core_sector=1)


def test_core_image_points_at_its_own_rest() -> None:
    """The first sector names the one after it, how many follow, and where they go."""
    written = boot_sectors.core_sectors(CORE, first_sector=FIRST_SECTOR, available_bytes=1 << 20)

    sectors = -(-len(CORE) // SECTOR_BYTES)
    assert len(written) == sectors * SECTOR_BYTES
    assert struct.unpack_from("<QHH", written, 0x1F4) == (FIRST_SECTOR + 1, sectors - 1, 0x820)
    assert written[SECTOR_BYTES:].rstrip(b"\0") == CORE[SECTOR_BYTES:]


def test_core_image_that_does_not_fit_is_refused() -> None:
    """A core image may fill its partition, and not more."""
    exact = bytes(4 * SECTOR_BYTES)
    boot_sectors.core_sectors(exact, first_sector=1, available_bytes=len(exact))

    with pytest.raises(BootCodeError, match="takes 2560 bytes, the BIOS boot partition has 2048"):
        boot_sectors.core_sectors(exact + b"x", first_sector=1, available_bytes=len(exact))


def test_core_image_of_one_sector_is_refused() -> None:
    """A core image without a rest is none."""
    with pytest.raises(BootCodeError, match="too short"):
        boot_sectors.core_sectors(bytes(SECTOR_BYTES), first_sector=1, available_bytes=4096)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "disk").write_bytes(b"\xff" * (8 * SECTOR_BYTES))
    (tmp_path / "boot.img").write_bytes(BOOT)
    (tmp_path / "core.img").write_bytes(CORE)
    return tmp_path


def arguments(files: Path, *, sectors: int) -> list[str]:
    return [
        *["--disk", str(files / "disk"), "--boot-image", str(files / "boot.img")],
        *["--core-image", str(files / "core.img")],
        *["--first-sector", "2", "--sectors", str(sectors)],
    ]


def test_program_writes_only_its_sectors(files: Path) -> None:
    """Before and after the boot code the disk is as it was."""
    assert boot_sectors.main(arguments(files, sectors=4)) == 0

    disk = (files / "disk").read_bytes()
    assert disk[SECTOR_BYTES : 2 * SECTOR_BYTES] == b"\xff" * SECTOR_BYTES
    assert disk[2 * SECTOR_BYTES :].startswith(b"first")
    assert disk[6 * SECTOR_BYTES :] == b"\xff" * (2 * SECTOR_BYTES)
    assert len(disk) == 8 * SECTOR_BYTES


def test_program_that_fails_leaves_the_disk_alone(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the core image does not fit, nothing is written and the status says so."""
    before = (files / "disk").read_bytes()

    assert boot_sectors.main(arguments(files, sectors=2)) == 1

    assert (files / "disk").read_bytes() == before
    assert "boot_sectors: core.img takes" in capsys.readouterr().err
