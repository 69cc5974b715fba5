# SPDX-License-Identifier: Apache-2.0
"""image/make-disk.sh: a tar file becomes a disk that a BIOS and a kernel understand."""

import json
import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import need

MAKE_DISK = Path(__file__).resolve().parents[2] / "image/make-disk.sh"
SECTOR_BYTES = 512
DEADLINE_S = 120.0
# CAP_NET_RAW in the permitted set, as ping has it: revision 2 of the attribute (capabilities(7)).
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
UUID = "01234567-89ab-cdef-0123-456789abcdef"


@dataclass(frozen=True, slots=True)
class Made:
    """A disk image and the partition table that sfdisk reads out of it."""

    path: Path
    partitions: list[dict[str, object]]

    @property
    def root_offset(self) -> int:
        start = self.partitions[1]["start"]
        assert isinstance(start, int)
        return start * SECTOR_BYTES

    def debugfs(self, request: str) -> str:
        """Ask the root file system something."""
        return run("debugfs", "-R", request, f"{self.path}?offset={self.root_offset}").stdout


def run(
    *argv: str, env: dict[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"} | (env or {})
    return subprocess.run(
        argv, env=environment, capture_output=True, text=True, check=check, timeout=DEADLINE_S
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root file system with the least that can boot, and owners and attributes to be kept."""
    need.root()
    need.programs("grub-mkimage", "mke2fs", "sfdisk", "debugfs")
    root = tmp_path / "tree"
    (root / "boot/grub").mkdir(parents=True)
    for name in ("boot/vmlinuz-6", "boot/initrd.img-6", "boot/grub/grub.cfg"):
        (root / name).write_text(name)
    for name in ("vmlinuz", "initrd.img"):
        (root / name).symlink_to(f"boot/{name}-6")
    (root / "tool").touch()
    os.chown(root / "tool", 1234, 5678)
    (root / "tool").chmod(0o4750)  # last, because a new owner takes the set-uid bit away
    (root / "ping").touch(mode=0o755)
    os.setxattr(root / "ping", "security.capability", CAPABILITY)
    return root


def make(tree: Path, *, env: dict[str, str] | None = None) -> Made:
    tar, disk, work = (tree.parent / name for name in ("root.tar", "disk.raw", "work"))
    run(
        *["tar", "--create", f"--file={tar}", f"--directory={tree}"],
        *["--xattrs", "--xattrs-include=*", "."],
    )
    run("rm", "-rf", str(work))
    work.mkdir()
    run("bash", str(MAKE_DISK), str(tar), str(disk), "1", str(work), env=env)
    table = json.loads(run("sfdisk", "--json", str(disk)).stdout)["partitiontable"]
    assert table["label"] == "gpt"
    return Made(disk, table["partitions"])


def test_disk_has_the_partitions_of_a_bios_machine(tree: Path) -> None:
    """A BIOS boot partition of 1 MiB, then the root partition, on a disk of the size asked for."""
    made = make(tree)

    boot, root = made.partitions
    assert boot["type"] == "21686148-6449-6E6F-744E-656564454649"
    assert (boot["start"], boot["size"]) == (2048, 2048)
    assert root["type"] == "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
    assert made.path.stat().st_size == 1 << 30
    assert made.path.stat().st_blocks * 512 < 100 << 20, "the image is a sparse file"


def test_disk_starts_the_boot_loader(tree: Path) -> None:
    """The first sector names the partition's first, and that holds GRUB with our configuration."""
    made = make(tree)

    with made.path.open("rb") as disk:
        mbr = disk.read(SECTOR_BYTES)
        disk.seek(2048 * SECTOR_BYTES)
        core = disk.read(2048 * SECTOR_BYTES)
    assert mbr[510:] == b"\x55\xaa"
    assert struct.unpack_from("<Q", mbr, 0x5C) == (2048,)
    start, count, _ = struct.unpack_from("<QHH", core, 0x1F4)
    assert start == 2049
    assert not any(core[(count + 1) * SECTOR_BYTES :])


def test_disk_keeps_owners_modes_and_capabilities(tree: Path) -> None:
    """Files are whose they were in the tar file, with set-uid bits and file capabilities."""
    made = make(tree)

    tool = made.debugfs("stat /tool")
    assert "Mode:  04750" in tool
    assert "User:  1234   Group:  5678" in tool
    assert "security.capability" in made.debugfs("ea_list /ping")
    assert "security.capability" not in made.debugfs("ea_list /tool")
    assert "Type: directory" in made.debugfs("stat /proc")


def test_file_system_can_be_read_by_old_boot_loaders(tree: Path) -> None:
    """Neither features that GRUB 2.06 refuses nor the host's own defaults get in."""
    features = make(tree).debugfs("features").split()

    assert {"has_journal", "extent", "64bit", "metadata_csum"} <= set(features)
    assert not {"metadata_csum_seed", "orphan_file", "encrypt", "casefold"} & set(features)


def test_identifiers_can_be_fixed(tree: Path) -> None:
    """The same identifier gives the same file system id; without one they differ."""
    fixed = make(tree, env={"AMPHORA_DISK_UUID": UUID}).debugfs("show_super_stats -h")
    free = make(tree).debugfs("show_super_stats -h")

    assert UUID in fixed
    assert UUID not in free


@pytest.mark.parametrize("name", ["vmlinuz", "initrd.img"])
def test_tree_without_a_kernel_is_refused(tree: Path, name: str) -> None:
    """What could not boot does not become a disk."""
    (tree / name).unlink()

    with pytest.raises(subprocess.CalledProcessError) as failure:
        make(tree)

    assert f"has no /{name}" in failure.value.stderr
    assert not (tree.parent / "disk.raw").exists()
