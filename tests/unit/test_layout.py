# SPDX-License-Identifier: Apache-2.0
"""Names and paths, and the units of the image that use them."""

import subprocess
import uuid
from pathlib import Path

import pytest

from amphora_agent import layout

STATIC = Path(__file__).resolve().parents[2] / "elements/amphora-agent/static/usr/lib/systemd"
LISTENER = "77777777-0000-4000-8000-000000000007"
PATHS = layout.Layout()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "certs",
        LISTENER.replace("7", "A"),
        f"{LISTENER}\n",
        f"{LISTENER}/x",
        "7" * 36,
    ],
)
def test_object_id_is_a_uuid_and_nothing_more(name: str) -> None:
    """A name that could lead elsewhere is no id; every UUID of a controller is one."""
    assert not layout.is_object_id(name)
    assert layout.is_object_id(str(uuid.uuid4()))


def test_lvs_paths_are_those_of_the_contract() -> None:
    """Configuration and process ids lie side by side under the listener's id."""
    stem = f"/var/lib/octavia/lvs/octavia-keepalivedlvs-{LISTENER}"
    assert str(PATHS.lvs_config(LISTENER)) == f"{stem}.conf"
    assert [str(path) for path in PATHS.lvs_pids(LISTENER)] == [
        f"{stem}.pid",
        f"{stem}.vrrp.pid",
        f"{stem}.check.pid",
    ]


def test_keepalived_units_use_the_paths_of_the_agent() -> None:
    """What the agent writes is what the units read, and their pid files are where it looks."""
    vrrp = (STATIC / "system" / layout.KEEPALIVED_UNIT).read_text()
    assert f"Environment=CONFIG={PATHS.keepalived_config}\n" in vrrp
    assert f"Environment=PID={PATHS.keepalived_pid}\n" in vrrp
    assert f"ConditionPathExists={PATHS.keepalived_config}\n" in vrrp
    lvs = (STATIC / "system/octavia-keepalivedlvs@.service").read_text().replace("%i", LISTENER)
    assert layout.lvs_unit(LISTENER) == f"octavia-keepalivedlvs@{LISTENER}.service"
    config = PATHS.lvs_config(LISTENER)
    assert f"Environment=STEM={config.with_suffix('')}\n" in lvs
    assert f"ConditionPathExists={config}\n" in lvs
    stem = "${STEM}"
    for option, path in zip(
        ("pid", "vrrp_pid", "checkers_pid"), PATHS.lvs_pids(LISTENER), strict=True
    ):
        assert f"--{option}={stem}{path.name.removeprefix(config.stem)}" in lvs
    # keepalived takes any process with the number in an old one for itself.
    assert "ExecStartPre=/bin/rm -f ${PID}\n" in vrrp
    removed = " ".join(
        f"{stem}{path.name.removeprefix(config.stem)}" for path in PATHS.lvs_pids(LISTENER)
    )
    assert f"ExecStartPre=/bin/rm -f {removed}\n" in lvs
    assert f" --namespace={layout.NETNS} " in vrrp
    assert f"NetworkNamespacePath=/run/netns/{layout.NETNS}\n" in lvs


def test_generator_starts_every_keepalived_with_a_configuration(tmp_path: Path) -> None:
    """A want for VRRP and for each listener, and none for what is no configuration."""
    paths = layout.Layout(base=tmp_path / "base")
    paths.lvs_dir.mkdir(parents=True)
    paths.keepalived_config.parent.mkdir()
    for path in (
        paths.keepalived_config,
        paths.lvs_config(LISTENER),
        paths.lvs_config("no-id"),
        paths.lvs_config(LISTENER).with_suffix(".conf.new"),
        *paths.lvs_pids(LISTENER),
    ):
        path.touch()
    out = tmp_path / "out"
    subprocess.run(
        [str(STATIC / "system-generators/amphora-generator"), str(out), "early", "late"],
        env={"PATH": "/usr/bin:/bin", "AMPHORA_BASE": str(paths.base)},
        check=True,
        timeout=60,
    )
    wants = {
        path.name: path.readlink().name for path in (out / "multi-user.target.wants").iterdir()
    }
    assert wants == {
        layout.KEEPALIVED_UNIT: layout.KEEPALIVED_UNIT,
        layout.lvs_unit(LISTENER): "octavia-keepalivedlvs@.service",
    }
