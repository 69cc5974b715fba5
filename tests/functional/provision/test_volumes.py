# SPDX-License-Identifier: Apache-2.0
"""Real volumes, and finding the drive among them."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.functional.provision.drives import GOLDEN, NETWORK, run, tree
from tests.support import need


def test_source_that_is_not_there_is_named(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong --source is an error of its own, not a missing drive."""
    assert run(root, tmp_path / "absent") == 1
    assert str(tmp_path / "absent") in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["iso9660", "vfat", "ext2"])
def test_image_file_is_mounted_and_unmounted(kind: str, root: Path, tmp_path: Path) -> None:
    """A volume gives the golden tree, and neither mount nor mount point is left."""
    need_loop_devices()
    if not kernel_knows(kind):
        pytest.skip(f"this kernel has no {kind}; the image's test boots from an ISO 9660 volume")
    image = make_volume(kind, tmp_path / "image")
    if kind == "vfat":
        copy_into(image, tmp_path / "mounted")
    # In a mount namespace, with which a forgotten mount ends.
    script = '"$PYTHON" -m amphora_agent.provision --root "$1" --source "$2" >/dev/null\n'
    with alone(f"{script}cat /proc/self/mounts", root, image) as provisioned:
        mounts, _ = provisioned.communicate(timeout=60)
    assert provisioned.returncode == 0
    assert str(root) not in mounts
    assert tree(root) == tree(GOLDEN / "static-ipv4/tree")
    assert not (root / "run/amphora-provision/drive").exists()


def test_image_that_cannot_be_mounted_keeps_the_network(
    root: Path, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unreadable drive is named with mount's own reason; the last network comes back."""
    need_loop_devices()
    run(root, drive)
    shutil.rmtree(root / "run")
    image = tmp_path / "image"
    image.write_bytes(b"\0" * 1024 * 1024)
    assert run(root, image) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: config drive {image}: ")
    assert "mount: " in line
    assert (root / NETWORK).exists()
    assert str(image) not in subprocess.check_output(["losetup", "--list"], text=True)


def make_volume(kind: str, image: Path) -> Path:
    """A volume with the label of a config drive, and its content except on vfat."""
    content = GOLDEN / "static-ipv4/drive"
    if kind == "iso9660":
        need.programs("xorriso")
        argv = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "config-2", "-J", "-r", "-o"]
        argv += [str(image), str(content)]
    else:
        with image.open("wb") as stream:
            stream.truncate(8 * 1024 * 1024)
        argv = ["mkfs.vfat", "-n", "CONFIG-2", str(image)]
        if kind == "ext2":
            argv = ["mke2fs", "-q", "-t", kind, "-L", "config-2", "-d", str(content), str(image)]
        need.programs(argv[0])
    subprocess.run(argv, check=True, capture_output=True)
    return image


def copy_into(image: Path, mount_point: Path) -> None:
    """Fill a volume that cannot be made with content in it."""
    mount_point.mkdir()
    subprocess.run(["mount", image, mount_point], check=True)
    try:
        shutil.copytree(GOLDEN / "static-ipv4/drive", mount_point, dirs_exist_ok=True)
    finally:
        subprocess.run(["umount", mount_point], check=True)


def kernel_knows(kind: str) -> bool:
    """Whether the running kernel can mount such a volume, perhaps with a module."""
    module = {"iso9660": "isofs"}.get(kind, kind)
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", module], check=False, capture_output=True)
    return f"\t{kind}\n" in Path("/proc/filesystems").read_text()


def need_loop_devices() -> None:
    """Require what `mount` needs for an image file."""
    need.root()
    need.programs("losetup", "mount", "unshare")
    if not Path("/dev/loop-control").exists():
        need.missing("needs loop devices")


# In a mount namespace that shows no block devices but those of the test.


@contextmanager
def loop_device(image: Path) -> Iterator[Path]:
    """Attach an image to a free loop device."""
    argv = ["losetup", "--find", "--show", "--read-only", str(image)]
    device = Path(subprocess.check_output(argv, text=True).strip())
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def alone(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a shell script where /sys/class/block is empty at first; `$PYTHON` has the package."""
    prelude = "set -eu; mount -t tmpfs none /sys/class/block\n"
    return subprocess.Popen(
        ["unshare", "--mount", "--uts", "sh", "-c", prelude + script, "sh", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHON": sys.executable},
        cwd=Path(__file__).parents[2],
    )


FIND = "from amphora_agent.system import boot; print(boot.find_drive(wait_s=float('%s')))"


@pytest.mark.parametrize("kind", ["iso9660", "vfat"])
def test_drive_is_found_by_its_label(kind: str, tmp_path: Path) -> None:
    """Among the block devices, the one with the label in either case is found without udev."""
    need_loop_devices()
    image = make_volume(kind, tmp_path / "image")
    other = make_volume("ext2", tmp_path / "other")
    with loop_device(other) as first, loop_device(image) as second:
        script = "for it; do ln -s ../../devices/virtual/block/$it /sys/class/block/$it; done\n"
        with alone(f'{script} "$PYTHON" -c "{FIND % 0}"', first.name, second.name) as found:
            assert found.communicate(timeout=60)[0] == f"{second}\n"


def test_drive_that_appears_late_is_waited_for(tmp_path: Path) -> None:
    """A driver that is still probing when the search begins does not cost the drive."""
    need_loop_devices()
    image = make_volume("iso9660", tmp_path / "image")
    with loop_device(image) as device:
        script = f'"$PYTHON" -c "{FIND % 60}" & sleep 1\n'
        script += 'ln -s ../../devices/virtual/block/$1 "/sys/class/block/$1"; wait'
        with alone(script, device.name) as found:
            assert found.communicate(timeout=90)[0] == f"{device}\n"


def test_boot_without_a_drive_is_no_error(root: Path, drive: Path) -> None:
    """The first boot says how to proceed; a later one has the network of the last."""
    need.root()
    script = '"$PYTHON" -m amphora_agent.provision --wait 0 --root "$1"'
    with alone(script, root) as first:
        said, _ = first.communicate(timeout=60)
    assert first.returncode == 0
    assert "Create the server with a config drive" in said
    assert "every interface stays unmanaged" in said
    assert tree(root) == {}

    run(root, drive)
    golden = tree(root)
    shutil.rmtree(root / "run")
    with alone(script, root) as later:
        said, _ = later.communicate(timeout=60)
    assert later.returncode == 0
    assert "keeps the files and the network" in said
    assert tree(root) == golden


def test_running_host_gets_the_name(root: Path, tmp_path: Path) -> None:
    """Without --root the kernel's host name changes, with it only the tree does."""
    need.root()
    before = socket.gethostname()
    (tmp_path / "etc").mkdir()
    # The host's own /etc, /run and /var/lib are out of sight of the process.
    script = (
        'mount --bind "$1" /etc; mount -t tmpfs none /run; mount -t tmpfs none /var/lib\n'
        '"$PYTHON" -m amphora_agent.provision --source "$2" >/dev/null\n'
        "uname -n; cat /etc/hostname; ls /run/systemd/network"
    )
    with alone(script, tmp_path / "etc", GOLDEN / "dual-stack/drive") as found:
        said, _ = found.communicate(timeout=60)
    name = "amphora-a1b2c3d4-0000-4000-8000-000000000002"
    assert said.splitlines()[:2] == [name, name]
    assert said.splitlines()[2:] == sorted(
        path.name for path in (GOLDEN / "dual-stack/tree/run/systemd/network").iterdir()
    )
    run(root, GOLDEN / "dual-stack/drive")
    assert socket.gethostname() == before
