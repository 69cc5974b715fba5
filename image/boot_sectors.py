# SPDX-License-Identifier: Apache-2.0
"""Write GRUB's BIOS boot code into a disk image, without a block device.

`grub-bios-setup` asks the kernel which disk and file system its files lie on, which a container or
a machine without loop devices cannot answer. On a GPT disk all it does then is this: the first
sector gets boot.img, the BIOS boot partition gets core.img, and three places in them learn where
the next sector is. The offsets are GRUB's ABI between boot.img, diskboot.img and its installer
(include/grub/i386/pc/boot.h in GRUB's sources).
"""

import argparse
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

SECTOR_BYTES = 512

# In boot.img: the 8-byte number of core.img's first sector; a jump that, replaced by two NOPs,
# corrects BIOSes that do not name the boot disk; the MBR's partition table, which stays.
KERNEL_SECTOR_OFFSET = 0x5C
DRIVE_CHECK_OFFSET = 0x66
DRIVE_CHECK_NOPS = b"\x90\x90"
PARTITION_TABLE_OFFSET = 0x1B8
BOOT_SIGNATURE = b"\x55\xaa"

# In core.img's first sector: one list entry that says where the rest is and where it goes.
BLOCKLIST_OFFSET = SECTOR_BYTES - 12
BLOCKLIST_FORMAT = "<QHH"
# 0x8000 is where the first sector itself runs; the rest follows it. In 16-byte paragraphs.
REST_SEGMENT = (0x8000 + SECTOR_BYTES) >> 4


class BootCodeError(Exception):
    """The boot code does not have the expected form, or does not fit."""


def boot_sector(boot_image: bytes, *, current: bytes, core_sector: int) -> bytes:
    """Make the disk's first sector.

    Args:
        boot_image: GRUB's boot.img.
        current: the disk's first sector now, whose partition table is kept.
        core_sector: number of the sector where core.img starts.

    Raises:
        BootCodeError: boot_image is not a boot sector.
    """
    if len(boot_image) != SECTOR_BYTES or boot_image[-2:] != BOOT_SIGNATURE:
        raise BootCodeError(f"boot.img is not a boot sector of {SECTOR_BYTES} bytes")
    sector = bytearray(boot_image)
    struct.pack_into("<Q", sector, KERNEL_SECTOR_OFFSET, core_sector)
    sector[DRIVE_CHECK_OFFSET : DRIVE_CHECK_OFFSET + 2] = DRIVE_CHECK_NOPS
    sector[PARTITION_TABLE_OFFSET:-2] = current[PARTITION_TABLE_OFFSET:-2]
    return bytes(sector)


def core_sectors(core_image: bytes, *, first_sector: int, available_bytes: int) -> bytes:
    """Make the contents of the BIOS boot partition.

    Args:
        core_image: what grub-mkimage made.
        first_sector: number of the partition's first sector.
        available_bytes: size of the partition.

    Raises:
        BootCodeError: core_image does not fit, or is too short to be one.
    """
    if len(core_image) <= SECTOR_BYTES:
        raise BootCodeError("core.img is too short")
    padded = core_image + bytes(-len(core_image) % SECTOR_BYTES)
    if len(padded) > available_bytes:
        raise BootCodeError(
            f"core.img takes {len(padded)} bytes, the BIOS boot partition has {available_bytes}"
        )
    rest = len(padded) // SECTOR_BYTES - 1
    entry = struct.pack(BLOCKLIST_FORMAT, first_sector + 1, rest, REST_SEGMENT)
    return padded[:BLOCKLIST_OFFSET] + entry + padded[SECTOR_BYTES:]


def install(
    disk: Path, *, boot_image: Path, core_image: Path, first_sector: int, sectors: int
) -> None:
    """Write the boot code into a raw disk image that has its partition table already.

    Args:
        disk: the raw image.
        boot_image: GRUB's boot.img.
        core_image: what grub-mkimage made.
        first_sector: first sector of the BIOS boot partition.
        sectors: its length.

    Raises:
        BootCodeError: see `boot_sector` and `core_sectors`.
    """
    core = core_sectors(
        core_image.read_bytes(), first_sector=first_sector, available_bytes=sectors * SECTOR_BYTES
    )
    with disk.open("r+b") as image:
        current = image.read(SECTOR_BYTES)
        boot = boot_sector(boot_image.read_bytes(), current=current, core_sector=first_sector)
        image.seek(first_sector * SECTOR_BYTES)
        image.write(core)
        image.seek(0)
        image.write(boot)
        image.flush()
        os.fsync(image.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a program; the exit status is 1 when the boot code cannot be written."""
    parser = argparse.ArgumentParser(description="Write GRUB's BIOS boot code into a disk image.")
    parser.add_argument("--disk", type=Path, required=True)
    parser.add_argument("--boot-image", type=Path, required=True)
    parser.add_argument("--core-image", type=Path, required=True)
    parser.add_argument("--first-sector", type=int, required=True)
    parser.add_argument("--sectors", type=int, required=True)
    args = parser.parse_args(argv)
    try:
        install(
            args.disk,
            boot_image=args.boot_image,
            core_image=args.core_image,
            first_sector=args.first_sector,
            sectors=args.sectors,
        )
    except (BootCodeError, OSError) as exc:
        print(f"boot_sectors: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
