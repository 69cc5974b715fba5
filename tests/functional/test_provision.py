# SPDX-License-Identifier: Apache-2.0
"""amphora-provision against trees of its own, real volumes, and the real systemd-networkd.

A case of tests/golden/provision is a drive and the tree that must result from it.
"""

import ctypes
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amphora_agent import provision
from tests.support import need, waiting
from tests.support.netns import Namespace, namespace

GOLDEN = Path(__file__).parents[1] / "golden/provision"
CASES = sorted(path.name for path in GOLDEN.iterdir())
NETWORKD = Path("/usr/lib/systemd/systemd-networkd")
ZONES = Path("usr/share/zoneinfo")
_CLONE_NEWUTS = 0x04000000

CERT = Path("etc/octavia/certs/server.pem")
CONF = Path("etc/octavia/amphora-agent.conf")
RSYSLOG = Path("etc/rsyslog.d/10-rsyslog.conf")
INSTANCE_ID = Path("var/lib/amphora-provision/instance-id")
NETWORK = Path("run/systemd/network/10-amphora-fa163e000001.network")

META = "openstack/latest/meta_data.json"
NETWORK_DATA = "openstack/latest/network_data.json"
USER_DATA = "openstack/latest/user_data"


@pytest.fixture(autouse=True)
def private_host_name() -> Iterator[None]:
    """A UTS namespace for each test: no fault of ours can rename the tester's machine."""
    if os.geteuid() != 0:
        yield  # then it cannot be renamed anyway
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/uts").open("rb") as home:
        if libc.unshare(_CLONE_NEWUTS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            yield
        finally:
            if libc.setns(home.fileno(), _CLONE_NEWUTS) != 0:
                raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty tree with two time zones."""
    path = tmp_path / "root"
    for zone in ("UTC", "Europe/Zurich"):
        (path / ZONES / zone).parent.mkdir(parents=True, exist_ok=True)
        (path / ZONES / zone).touch()
    return path


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A copy of the drive that an amphora usually gets."""
    return Path(shutil.copytree(GOLDEN / "static-ipv4/drive", tmp_path / "drive"))


def run(root: Path, drive: Path) -> int:
    """One boot."""
    return provision.main(["--root", str(root), "--source", str(drive)])


def edit_meta(drive: Path, **fields: object) -> None:
    """Change fields of meta_data.json."""
    document = json.loads((drive / META).read_text())
    (drive / META).write_text(json.dumps(document | fields))


def tree(root: Path) -> dict[str, bytes | str]:
    """Every file with its bytes and every link with its target; time zones are left out."""
    found: dict[str, bytes | str] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file() and not Path(name).is_relative_to(ZONES):
            found[name] = path.read_bytes()
    return found


def states(root: Path) -> dict[str, tuple[int, int, int]]:
    """What changes when anything is written: inode, time of change and mode of every path."""
    paths = {str(path): path.lstat() for path in root.rglob("*")}
    return {name: (it.st_ino, it.st_ctime_ns, it.st_mode) for name, it in paths.items()}


# Golden trees


@pytest.mark.parametrize("case", CASES)
def test_drive_gives_its_golden_tree(case: str, root: Path) -> None:
    """Exactly the expected files with exactly the expected content."""
    assert run(root, GOLDEN / case / "drive") == 0
    assert tree(root) == tree(GOLDEN / case / "tree")


@pytest.mark.parametrize("case", CASES)
def test_second_run_changes_nothing(case: str, root: Path) -> None:
    """Not one file is replaced or touched by the same drive again."""
    run(root, GOLDEN / case / "drive")
    before = states(root)
    assert run(root, GOLDEN / case / "drive") == 0
    assert states(root) == before


def test_modes_do_not_depend_on_the_umask(root: Path, drive: Path) -> None:
    """Keys and all below /etc/octavia are for their owner alone, directories for everybody."""
    argv = [sys.executable, "-m", "amphora_agent.provision", "--root", str(root)]
    argv += ["--source", str(drive)]
    subprocess.run(argv, check=True, umask=0o077, cwd=Path(__file__).parents[2])
    modes = {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode)
        for path in root.rglob("*")
        if path.is_file() and not path.relative_to(root).is_relative_to(ZONES)
    }
    secret = {"root/.ssh/authorized_keys", str(CONF), str(CERT), "etc/octavia/certs/client_ca.pem"}
    assert {name for name, mode in modes.items() if mode == 0o600} == secret
    assert {mode for name, mode in modes.items() if name not in secret} == {0o644}
    for directory in ("etc", "etc/octavia/certs", "etc/rsyslog.d", "run/systemd/network"):
        assert stat.S_IMODE((root / directory).stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "root/.ssh").stat().st_mode) == 0o700
    assert {path.stat().st_uid for path in root.rglob("*") if path.exists()} == {os.geteuid()}


# First boot and later boots


def test_file_replaced_by_the_controller_survives_a_reboot(root: Path, drive: Path) -> None:
    """A certificate put through the API stays; another instance's drive replaces it."""
    run(root, drive)
    (root / CERT).write_text("newer")
    assert run(root, drive) == 0
    assert (root / CERT).read_text() == "newer"

    edit_meta(drive, uuid="another")
    assert run(root, drive) == 0
    assert (root / CERT).read_bytes() == (drive / "openstack/content/0002").read_bytes()
    assert (root / INSTANCE_ID).read_text() == "another\n"


def test_crash_before_the_end_redoes_all(root: Path, drive: Path) -> None:
    """Without the record, which comes last, files of a half-done first boot are replaced."""
    run(root, drive)
    (root / CERT).write_text("half")
    (root / INSTANCE_ID).unlink()
    run(root, drive)
    assert (root / CERT).read_bytes() == (drive / "openstack/content/0002").read_bytes()


def test_failed_write_is_retried_on_the_next_boot(
    root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk's fault is not recorded as a first boot; the other files are written all the same."""
    (root / CERT).mkdir(parents=True)
    assert run(root, drive) == 1
    assert f"error: /{CERT}: " in capsys.readouterr().err
    assert (root / CONF).exists()
    assert not (root / INSTANCE_ID).exists()

    (root / CERT).rmdir()
    assert run(root, drive) == 0
    assert (root / CERT).is_file()
    assert (root / INSTANCE_ID).exists()


def test_lost_file_comes_back(root: Path, drive: Path) -> None:
    """A later boot writes what is missing, and only that."""
    run(root, drive)
    (root / CERT).unlink()
    (root / CONF).write_text("kept")
    assert run(root, drive) == 0
    assert (root / CERT).exists()
    assert (root / CONF).read_text() == "kept"


def test_network_follows_the_drive_at_every_boot(root: Path, drive: Path) -> None:
    """A new address replaces the old one; files of others in the directory stay."""
    run(root, drive)
    other = root / NETWORK.parent / "20-other.network"
    other.touch()
    text = (drive / NETWORK_DATA).read_text()
    (drive / NETWORK_DATA).write_text(text.replace("fa:16:3e:00:00:01", "fa:16:3e:00:00:99"))
    assert run(root, drive) == 0
    names = sorted(path.name for path in other.parent.iterdir())
    assert names == ["10-amphora-fa163e000099.network", "20-other.network"]


def test_nic_in_the_namespace_is_left_to_it(root: Path) -> None:
    """A drive that lists a hot-plugged NIC does not make networkd take it."""
    plugged = root / "var/lib/octavia/plugged_interfaces"
    plugged.parent.mkdir(parents=True)
    plugged.write_text("FA:16:3e:00:00:03 eth1\n\n")
    assert run(root, GOLDEN / "dual-stack/drive") == 0
    names = {path.name[11:23] for path in (root / NETWORK.parent).iterdir()}
    assert names == {"fa163e000002", "fa163e000004"}


def test_keys_of_others_stay(root: Path, drive: Path) -> None:
    """Lines of the operator stay byte for byte, keys of an old drive go."""
    path = root / "root/.ssh/authorized_keys"
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_bytes(b"ssh-rsa AAAA operator \xff\n")
    run(root, drive)
    assert path.read_bytes().startswith(b"ssh-rsa AAAA operator \xff\n# begin")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    edit_meta(drive, public_keys={})
    run(root, drive)
    assert path.read_bytes() == b"ssh-rsa AAAA operator \xff\n"


# Mistakes in the input


BROKEN = [b"{", b"[]", b"\xff\x00"]


@pytest.mark.parametrize(
    ("name", "content"),
    # Empty user_data is no mistake.
    [(META, b""), (NETWORK_DATA, b"")]
    + [(name, content) for name in (META, NETWORK_DATA, USER_DATA) for content in BROKEN],
)
def test_broken_document_is_named_and_the_rest_is_done(
    name: str, content: bytes, root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One error line names the document; what the others say is still applied."""
    (drive / name).write_bytes(content)
    assert run(root, drive) == 1
    assert capsys.readouterr().err.startswith(f"error: {name}: ")
    assert (root / CERT).exists() == (name != META)
    assert (root / INSTANCE_ID).exists() == (name != META)
    assert (root / NETWORK).exists() == (name != NETWORK_DATA)


@pytest.mark.parametrize("name", [META, NETWORK_DATA])
def test_missing_document_is_named_and_the_rest_is_done(
    name: str, root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nova writes both; without one of them the other is still applied."""
    (drive / name).unlink()
    assert run(root, drive) == 1
    assert capsys.readouterr().err == f"error: {name} is missing on the config drive\n"
    assert (root / CERT).exists() == (name != META)
    assert (root / NETWORK).exists() == (name != NETWORK_DATA)


def test_missing_user_data_is_no_mistake(root: Path, drive: Path) -> None:
    """A server without user data has no such document."""
    (drive / USER_DATA).unlink()
    assert run(root, drive) == 0


@pytest.mark.parametrize("broken", [b"{", b'{"links": [{"id": 7}]}'])
def test_broken_network_data_keeps_the_network_of_the_last_boot(
    broken: bytes, root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """/run is empty after a reboot; the copy on disk gives the network again."""
    run(root, drive)
    golden = (root / NETWORK).read_bytes()
    shutil.rmtree(root / "run")
    (drive / NETWORK_DATA).write_bytes(broken)
    assert run(root, drive) == 1
    assert (root / NETWORK).read_bytes() == golden
    assert "network: as on the last boot" in capsys.readouterr().out


def test_missing_content_is_named_and_the_others_are_written(
    root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says which file lacks which content; a repaired drive gives it later."""
    content = drive / "openstack/content/0001"
    content.rename(drive / "kept")
    assert run(root, drive) == 1
    error = f"error: /{RSYSLOG}: its content openstack/content/0001 is missing on the drive\n"
    assert capsys.readouterr().err == error
    assert (root / CERT).exists()

    (root / CERT).write_text("newer")
    (drive / "kept").rename(content)
    assert run(root, drive) == 0
    assert (root / RSYSLOG).exists()
    assert (root / CERT).read_text() == "newer"


@pytest.mark.parametrize("path", ["etc/relative", "/etc/../outside", "/../outside"])
def test_refused_path_is_named_and_the_others_are_written(
    path: str, root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written where the path leads."""
    files = json.loads((drive / META).read_text())["files"]
    edit_meta(drive, files=[{"path": path, "content_path": "/content/0000"}, *files])
    assert run(root, drive) == 1
    assert path in capsys.readouterr().err
    assert tree(root) == tree(GOLDEN / "static-ipv4/tree") | {
        "var/lib/amphora-provision/instance-id": (root / INSTANCE_ID).read_bytes()
    }
    assert list(root.parent.rglob("outside")) == []


def test_unknown_time_zone_is_a_warning_and_means_utc(
    root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The image may lack a zone; that alone does not fail the unit."""
    (drive / USER_DATA).write_text("#cloud-config\ntimezone: Mars/Olympus\n")
    assert run(root, drive) == 0
    assert (root / "etc/localtime").readlink() == Path("../usr/share/zoneinfo/UTC")
    assert "warning: user_data: this image has no time zone Mars/Olympus" in capsys.readouterr().out


def test_keys_without_effect_are_named_in_one_line(
    root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator who expects cloud-init learns what was not done."""
    (drive / USER_DATA).write_text("#cloud-config\npackages: [x]\nbootcmd: [y]\n")
    assert run(root, drive) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "without effect" in line]
    assert lines == [f"{USER_DATA}: without effect here: 'bootcmd', 'packages'"]


def test_secrets_are_not_told(root: Path, drive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No content of a file appears in the journal."""
    edit_meta(drive, admin_pass="hunter2", files="heartbeat_key")
    run(root, drive)
    shown = capsys.readouterr()
    assert "hunter2" not in shown.out + shown.err
    assert "golden" not in shown.out + shown.err


@pytest.mark.parametrize("name", [META, USER_DATA, "openstack/content/0000"])
def test_pipe_in_place_of_a_file_does_not_block_the_boot(
    name: str, root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rock Ridge can hold pipes; reading one would wait for ever."""
    (drive / name).unlink()
    os.mkfifo(drive / name)
    assert run(root, drive) == 1
    assert "is not a regular file" in capsys.readouterr().err


def test_text_of_the_drive_cannot_forge_a_line(
    root: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Control characters and half surrogates of a message reach the console as escapes."""
    lost = {"path": "/etc/é", "content_path": "/content/9999"}
    edit_meta(drive, hostname="a\nerror: forged\ud800\x1b[2J", files=[lost])
    assert run(root, drive) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.isascii() and line.isprintable() for line in lines)


# Volumes


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


# Finding the drive: in a mount namespace that shows no block devices but those of the test


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


# systemd-networkd


@contextmanager
def networkd(inside: Namespace, files: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run systemd-networkd in a namespace with the .network files of a directory."""
    # A read-only /sys tells it that no udev will announce the links.
    script = (
        "mount -t tmpfs none /run && mkdir -p /run/systemd/network /run/systemd/netif/links"
        ' /run/systemd/netif/leases && cp "$1"/* /run/systemd/network'
        " && chown -R systemd-network:systemd-network /run/systemd/netif"
        ' && mount -o remount,bind,ro /sys && exec "$2"'
    )
    argv = inside.command("unshare", "--mount", "sh", "-c", script, "sh", str(files), str(NETWORKD))
    environment = os.environ | {"SYSTEMD_LOG_LEVEL": "info", "SYSTEMD_LOG_TARGET": "console"}
    with log.open("wb") as stream:
        process = subprocess.Popen(argv, stdout=stream, stderr=stream, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def plug(inside: Namespace, files: Path) -> list[str]:
    """Add a NIC, with the other end up, for every file; their names."""
    names = []
    for number, path in enumerate(sorted(files.iterdir())):
        mac = re.findall(r"^MACAddress=(.*)$", path.read_text(), re.MULTILINE)[0]
        nic, peer = f"nic{number}", f"peer{number}"
        inside.ip("link", "add", nic, "mtu", "9000", "address", mac, "type", "veth", "peer",
                  "name", peer, "mtu", "9000")  # fmt: skip
        inside.ip("link", "set", peer, "up")
        names.append(nic)
    return names


def complaints(log: Path) -> list[str]:
    """What networkd said against its files."""
    pattern = re.compile(r"unknown|invalid|ignor|fail|could not parse|missing", re.IGNORECASE)
    return [line for line in log.read_text().splitlines() if pattern.search(line)]


@pytest.mark.netns
@pytest.mark.parametrize("case", CASES)
def test_networkd_accepts_every_file(case: str, tmp_path: Path) -> None:
    """The real program takes every NIC of every case, and complains of no line."""
    need_networkd()
    files = GOLDEN / case / "tree/run/systemd/network"
    log = tmp_path / "log"
    with namespace("networkd") as inside:
        nics = plug(inside, files)
        with networkd(inside, files, log):
            taken = [f"{nic}: Configuring with /run/systemd/network/" for nic in nics]
            waiting.until(
                "every NIC to be taken",
                lambda: all(line in log.read_text() for line in taken) or None,
                deadline_s=60,
                every_s=0.1,
            )
    assert complaints(log) == []


@pytest.mark.netns
def test_networkd_complaints_are_seen(tmp_path: Path) -> None:
    """The test above would notice a key that networkd does not know."""
    need_networkd()
    files = tmp_path / "files"
    files.mkdir()
    (files / "10-x.network").write_text("[Match]\nMACAddress=fa:16:3e:00:00:01\nSurprise=yes\n")
    log = tmp_path / "log"
    with namespace("networkd") as inside:
        plug(inside, files)
        with networkd(inside, files, log):
            waiting.until(
                "a complaint", lambda: complaints(log) or None, deadline_s=60, every_s=0.1
            )
    assert "Surprise" in complaints(log)[0]


@pytest.mark.netns
def test_networkd_makes_the_addresses_and_routes_of_the_data(tmp_path: Path) -> None:
    """The kernel ends up with the addresses, routes and MTU that the drive asked for."""
    need_networkd()
    files = GOLDEN / "dual-stack/tree/run/systemd/network"
    wanted = {
        "192.0.2.17/24", "2001:db8::17/64", "default via 192.0.2.1", "default via fe80::1",
        "198.51.100.0/24 via 192.0.2.2", "203.0.113.0/25 on the link",
        "2001:db8:1::/48 via 2001:db8::2", "mtu 9000",
    }  # fmt: skip
    with namespace("networkd") as inside:
        nic, *_ = plug(inside, files)
        with networkd(inside, files, tmp_path / "log"):
            waiting.until(
                "addresses and routes",
                lambda: wanted <= configured(inside, nic) or None,
                deadline_s=60,
                every_s=0.2,
            )
        # Nothing else but what the kernel itself adds for the two addresses.
        kernel = {"192.0.2.0/24 on the link", "2001:db8::/64 on the link", "fe80::/64 on the link"}
        assert configured(inside, nic) - wanted <= kernel


def configured(inside: Namespace, nic: str) -> set[str]:
    """Global addresses, routes of the main table and MTU of a NIC."""

    def ask(*argv: str) -> list[dict[str, object]]:
        text = subprocess.check_output(["ip", "-json", "-netns", inside.name, *argv], text=True)
        answer: list[dict[str, object]] = json.loads(text or "[]")
        return answer

    [link] = ask("address", "show", "dev", nic)
    addresses = link["addr_info"]
    assert isinstance(addresses, list)
    found = {f"{it['local']}/{it['prefixlen']}" for it in addresses if it["scope"] == "global"}
    for family in ("-4", "-6"):
        for route in ask(family, "route", "show", "dev", nic):
            way = f"via {route['gateway']}" if "gateway" in route else "on the link"
            found.add(f"{route['dst']} {way}")
    return found | {f"mtu {link['mtu']}"}


def need_networkd() -> None:
    """Require root and the program."""
    need.root()
    need.programs("ip", "unshare")
    if not NETWORKD.exists():
        need.missing(f"{NETWORKD} is not installed; ./test.sh installs it")
