# SPDX-License-Identifier: Apache-2.0
"""Drives, the trees that they give, and what a boot does.

A case of tests/golden/provision is a drive and the tree that must result from it.
"""

import json
from pathlib import Path

from amphora_agent import provision

GOLDEN = Path(__file__).parents[2] / "golden/provision"
CASES = sorted(path.name for path in GOLDEN.iterdir())
ZONES = Path("usr/share/zoneinfo")

CERT = Path("etc/octavia/certs/server.pem")
CONF = Path("etc/octavia/amphora-agent.conf")
RSYSLOG = Path("etc/rsyslog.d/10-rsyslog.conf")
INSTANCE_ID = Path("var/lib/amphora-provision/instance-id")
NETWORK = Path("run/systemd/network/10-amphora-fa163e000001.network")

META = "openstack/latest/meta_data.json"
NETWORK_DATA = "openstack/latest/network_data.json"
USER_DATA = "openstack/latest/user_data"


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
