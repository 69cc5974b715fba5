# SPDX-License-Identifier: Apache-2.0
"""What setup leaves to systemd on a controller, with the real one.

The image's root file system stands for a controller: it has systemd, ip, nft and sysctl, as a
controller has. Octavia's services are stood in for by programs that only wait.
"""

import json
import os
import time
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.hostnet import files
from amphora_controller.hostnet.interface import TABLE, HostInterface, bridge_name, tap_name
from amphora_controller.setup.cloud import Cloud
from amphora_controller.setup.context import Context
from amphora_controller.setup.services import ServicesStep
from amphora_controller.site_host import Plug
from amphora_controller.units import SystemdUnits
from tests.support import container, waiting
from tests.support.container import Container, Disk
from tests.support.netns import Namespace, namespace
from tests.support.sites import loaded

PORT_ID = "3b5b0f5e-8a1c-4b8a-9c1a-2f1d0c5c4e11"
WANTED = HostInterface(
    name="o-hm0",
    plug=Plug.LINUXBRIDGE,
    bridge=bridge_name(Plug.LINUXBRIDGE, "6e2c1b64-5f8e-4ad0-8d2b-0a4f3e0c7b11"),
    port_id=PORT_ID,
    mac="fa:16:3e:5a:00:11",
    tap=tap_name(PORT_ID),
    address=ip_interface("2001:db8::11/64"),
    mtu=1442,
)
RULES = "/etc/octavia/amphora-host-interface.nft"
OCTAVIA = ("octavia-api", "octavia-worker", "octavia-health-manager", "octavia-housekeeping")
_DEADLINE_S = 60


@pytest.fixture(scope="module")
def disk(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """The image, unpacked once."""
    return container.raw_disk(image, tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def outside() -> Iterator[Namespace]:
    """Where containers are started; they get nothing from there."""
    with namespace("controller") as made:
        yield made


@pytest.fixture(scope="module")
def booted(
    disk: Disk, outside: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """A controller whose systemd answers."""
    with container.boot(disk, tmp_path_factory.mktemp("boot"), inside=outside, nics=()) as made:
        await_systemd(made)
        yield made


@pytest.fixture
def controller(booted: Container) -> Iterator[Container]:
    """The same, for one test."""
    yield booted
    names = " ".join((files.UNIT, *(f"{unit}.service" for unit in OCTAVIA)))
    booted.run(
        f"""
systemctl unmask --quiet {names}
systemctl disable --now --quiet {names} 2> /dev/null
cd /etc/systemd/system && rm -f {names}
systemctl daemon-reload
systemctl reset-failed
ip link delete o-hm0 2> /dev/null
ip link delete {WANTED.bridge} 2> /dev/null
nft flush ruleset
"""
    )


def await_systemd(booted: Container) -> None:
    """Wait until units can be started."""

    def probe() -> bool | None:
        try:
            return booted.run("systemctl is-active basic.target").strip() == "active" or None
        except RuntimeError:
            return None

    waiting.until("systemd", probe, deadline_s=_DEADLINE_S, every_s=0.1)


def units(booted: Container) -> SystemdUnits:
    """Its systemd, as setup talks to it."""
    return SystemdUnits(("nsenter", f"--target={booted.pid}", "--all", "--"))


def write(booted: Container, path: str, text: str) -> None:
    """Write a file of the controller's."""
    there = booted.root / path.lstrip("/")
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text(text)


def addresses(booted: Container) -> list[str]:
    """What o-hm0 has; nothing where there is no such interface."""
    rows = json.loads(booted.run("ip -json address show"))
    infos = [info for row in rows if row["ifname"] == "o-hm0" for info in row["addr_info"]]
    return [f"{info['local']}/{info['prefixlen']}" for info in infos if info["scope"] == "global"]


def install(booted: Container) -> None:
    """Bring unit and rules where setup writes them, and start the unit."""
    write(booted, RULES, files.rules("o-hm0", heartbeat_port=5555))
    write(booted, f"/etc/systemd/system/{files.UNIT}", files.unit(WANTED, RULES))
    systemd = units(booted)
    systemd.read_files()
    systemd.enable(files.UNIT)
    systemd.restart(files.UNIT)


def add_bridge(booted: Container) -> None:
    """What Neutron's agent does."""
    booted.run(f"ip link add {WANTED.bridge} type bridge && ip link set {WANTED.bridge} up")


def test_unit_brings_the_interface_up(controller: Container) -> None:
    """systemd runs all commands of the unit, and then tells that it is up and enabled."""
    add_bridge(controller)
    assert not units(controller).state(files.UNIT).is_there
    install(controller)
    state = units(controller).state(files.UNIT)
    assert state.is_active
    assert state.is_enabled
    assert addresses(controller) == [str(WANTED.address)]
    assert "dport 5555 accept" in controller.run(f"nft list table inet {TABLE}")


def test_unit_is_started_at_boot_and_waits_for_the_bridge(
    disk: Disk, outside: Namespace, tmp_path: Path
) -> None:
    """After a power cut systemd starts the unit by itself, and again until the bridge is there."""
    with container.boot(disk, tmp_path, inside=outside, nics=()) as booted:
        await_systemd(booted)
        add_bridge(booted)
        install(booted)
        booted.run("sync")
    with container.boot(disk, tmp_path, inside=outside, nics=()) as booted:
        await_systemd(booted)

        def failed() -> bool | None:
            shown = booted.run(f"systemctl show --value --property=NRestarts {files.UNIT}")
            return int(shown) > 0 or None

        waiting.until("the first try to fail", failed, deadline_s=_DEADLINE_S, every_s=0.1)
        assert not units(booted).state(files.UNIT).is_active
        add_bridge(booted)
        waiting.until(
            "the unit to be up",
            lambda: units(booted).state(files.UNIT).is_active or None,
            deadline_s=_DEADLINE_S,
            every_s=0.2,
        )
        assert addresses(booted) == [str(WANTED.address)]


@pytest.mark.parametrize("verb", ["restart", "reload"])
def test_rules_come_back_after_nftables(controller: Container, verb: str) -> None:
    """After nftables was started anew or reloaded, which flushes all rules, ours are there."""
    add_bridge(controller)
    install(controller)
    controller.run("systemctl start nftables")
    write(controller, "/etc/nftables.conf", "#!/usr/sbin/nft -f\nflush ruleset\n")
    controller.run(f"systemctl {verb} nftables")
    waiting.until(
        "the rules",
        lambda: TABLE in controller.run("nft list tables") or None,
        deadline_s=_DEADLINE_S,
        every_s=0.1,
    )
    # The control: it was nftables that took them away.
    controller.run("nft flush ruleset")
    assert TABLE not in controller.run("nft list tables")


def test_failure_tells_the_programs_words(controller: Container) -> None:
    """Without a bridge, the error has what `ip` said."""
    with pytest.raises(ControllerError, match=rf"systemctl restart {files.UNIT} failed") as caught:
        install(controller)
    assert "Cannot find device" in caught.value.hint or "does not exist" in caught.value.hint


# Services


def services(booted: Container, directory: Path) -> ServicesStep:
    """The step, for a controller whose tables are of the newest revision."""
    program = directory / "octavia-db-manage"
    program.write_text("#!/bin/sh\necho '76aacf2e176c (head)'\n")
    program.chmod(0o755)
    conf = directory / "octavia.conf"
    conf.touch()
    site = loaded(
        directory,
        octavia={"conf": str(conf), "owner": ""},
        services={"db_manage": str(program), "units": list(OCTAVIA)},
    )
    context = Context(site=site, source="s", host="ctl1", cloud=Cloud(None))
    for unit in OCTAVIA:
        write(
            booted,
            f"/etc/systemd/system/{unit}.service",
            "[Service]\nType=exec\nExecStart=/bin/sleep infinity\n"
            "[Install]\nWantedBy=multi-user.target\n",
        )
    units(booted).read_files()
    return ServicesStep(context, units(booted))


def apply(step: ServicesStep) -> list[str]:
    """Do all changes; what was done."""
    done = []
    for change in step.changes():
        change.do()
        done.append(change.what)
    return done


def test_services_are_enabled_and_run(controller: Container, tmp_path: Path) -> None:
    """systemd starts Octavia's four units now and at boots; a second run does nothing."""
    step = services(controller, tmp_path)
    assert len(apply(step)) == 2 * len(OCTAVIA)
    names = " ".join(OCTAVIA)
    assert controller.run(f"systemctl is-active {names}").split() == ["active"] * 4
    assert controller.run(f"systemctl is-enabled {names}").split() == ["enabled"] * 4
    assert apply(step) == []


def test_newer_configuration_restarts_services(controller: Container, tmp_path: Path) -> None:
    """Each service gets a new process when octavia.conf is newer, and only then."""
    step = services(controller, tmp_path)
    apply(step)
    before = controller.run("systemctl show --value --property=MainPID octavia-worker")
    # The kernel's clock for files is some milliseconds behind.
    time.sleep(0.05)
    os.utime(tmp_path / "octavia.conf")
    assert len(apply(step)) == len(OCTAVIA)
    assert controller.run("systemctl show --value --property=MainPID octavia-worker") != before
    assert apply(step) == []


def test_services_are_stopped_by_the_removals(controller: Container, tmp_path: Path) -> None:
    """After the removals none runs and none is enabled, and nothing is left to remove."""
    step = services(controller, tmp_path)
    apply(step)
    for change in step.removals():
        change.do()
    states = [units(controller).state(f"{unit}.service") for unit in OCTAVIA]
    assert not any(state.is_active or state.is_enabled for state in states)
    assert list(step.removals()) == []


def test_masked_and_failing_services_are_named(controller: Container, tmp_path: Path) -> None:
    """A masked unit is told with its remedy, a failing one with the words of its log."""
    step = services(controller, tmp_path)
    path = "/etc/systemd/system/octavia-worker.service"
    write(controller, path, "[Service]\nType=exec\nExecStart=/no/such/program\n"
                            "[Install]\nWantedBy=multi-user.target\n")  # fmt: skip
    units(controller).read_files()
    with pytest.raises(ControllerError, match=r"restart octavia-worker\.service failed") as caught:
        apply(step)
    assert "/no/such/program" in caught.value.hint
    controller.run(f"rm {path} && systemctl mask octavia-worker && systemctl daemon-reload")
    with pytest.raises(ControllerError, match=r"octavia-worker\.service is masked"):
        apply(step)
