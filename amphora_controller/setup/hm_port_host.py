# SPDX-License-Identifier: Apache-2.0
"""The host's half of the step hm-port: the interface of a Neutron port, its rules, its unit."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from amphora_agent.system import files
from amphora_controller import text_file
from amphora_controller.errors import ControllerError
from amphora_controller.hostnet import observed, system
from amphora_controller.hostnet.files import UNIT, exec_line, unit
from amphora_controller.hostnet.interface import HostInterface, remove_rules, unplug, up
from amphora_controller.hostnet.observed import Link, OvsPort
from amphora_controller.setup.steps import Change
from amphora_controller.site_host import Plug
from amphora_controller.units import Units

_MODE = 0o644
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the files are.

    Attributes:
        units: directory of the administrator's units.
        rules: the file for nft.
    """

    units: Path = Path("/etc/systemd/system")
    rules: Path = Path("/etc/octavia/amphora-host-interface.nft")

    @property
    def unit(self) -> Path:
        """The file of the unit."""
        return self.units / UNIT


@dataclass(frozen=True, kw_only=True, slots=True)
class HostHalf:
    """The interface on this host, as it is to be.

    Attributes:
        is_known: the Neutron port is there; if not, this is a dry run, and ids are placeholders.
        agent_deadline_s: for Neutron's Linux bridge agent, which looks for new interfaces every
            two seconds, to make its bridge.
    """

    wanted: HostInterface
    rules: str
    place: Place
    units: Units
    is_known: bool = True
    agent_deadline_s: float = 15.0

    def check(self) -> None:
        """See that nothing is in the way.

        Raises:
            ControllerError: the bridge is missing, the address or its network is on another
                interface, or an interface of the name is not of this program's making.
        """
        wanted = self.wanted
        if wanted.plug is not Plug.LINUXBRIDGE:
            system.expect_ovs_bridge(wanted.bridge, wanted.ovs_database)
        links = system.links()
        observed.refuse_overlap(wanted.name, wanted.address, links)
        if wanted.name in links and not self._is_ours(links, self._ovs_port()):
            raise ControllerError(
                f"{wanted.name} is there, and is not the interface of this host's Neutron port",
                "remove it, or give the site another host.interface",
            )

    def changes(self) -> Iterator[Change]:
        """What has to change so that the interface is there, now and after each boot.

        Raises:
            ControllerError: see `check`.
        """
        self.check()
        yield from self._repluggings()
        yield from self._lost_addresses()
        text = unit(self.wanted, str(self.place.rules))
        is_written = False
        for path, content in ((self.place.rules, self.rules), (self.place.unit, text)):
            if text_file.read(path) != content:
                is_written = True
                yield self._file(path, content)
        state = self.units.state(UNIT)
        if not state.is_enabled:
            yield Change(
                what=f"have {UNIT} started at every boot",
                detail=f"systemctl enable {UNIT}",
                do=self._enable,
            )
        reasons = [*self._differences()]
        if is_written or not state.is_active:
            reasons.append(f"{UNIT} was not started as it is now")
        if reasons:
            commands = (exec_line(command) for command in up(self.wanted, str(self.place.rules)))
            yield Change(
                what=f"bring {self.wanted.name} up with {self.wanted.address}",
                detail="\n".join((*reasons, f"systemctl restart {UNIT}, which does:", *commands)),
                do=self._bring_up,
            )

    def removals(self) -> Iterator[Change]:
        """What has to change so that interface, rules, unit and files are gone.

        Raises:
            ControllerError: the host does not tell what it has.
        """
        state = self.units.state(UNIT)
        links, ovs_port = system.links(), self._ovs_port()
        is_there = self.wanted.name in links or ovs_port is not None
        is_ours = is_there and self._is_ours(links, ovs_port)
        if state.is_there and (state.is_enabled or state.is_active):
            yield Change(
                what=f"stop {UNIT}",
                detail=f"systemctl disable {UNIT}; systemctl stop {UNIT}",
                do=self._stop,
            )
        if is_ours:
            yield self._unplugging(f"remove interface {self.wanted.name}", ovs_port)
        if system.has_rules():
            yield Change(
                what=f"remove the rules for {self.wanted.name}",
                detail=exec_line(remove_rules()),
                do=lambda: system.do(remove_rules()),
            )
        for path in (self.place.unit, self.place.rules):
            if path.exists():
                yield self._removal(path)

    def _is_ours(self, links: dict[str, Link], ovs_port: OvsPort | None) -> bool:
        """A unit of ours says that it is; so does the Neutron port, of one made by hand."""
        return self.place.unit.exists() or observed.is_of_port(self.wanted, links, ovs_port)

    def _ovs_port(self) -> OvsPort | None:
        if self.wanted.plug is Plug.LINUXBRIDGE:
            return None
        return system.ovs_port(self.wanted.name, self.wanted.ovs_database)

    def _repluggings(self) -> Iterator[Change]:
        """An interface that is ours, but of an earlier port or on another bridge, goes first."""
        links, ovs_port = system.links(), self._ovs_port()
        if self.wanted.name not in links or not self.is_known:
            return
        if self.wanted.plug is Plug.LINUXBRIDGE:
            is_right = observed.is_of_port(self.wanted, links, None)
        else:
            is_right = ovs_port is not None and ovs_port.bridge == self.wanted.bridge
        if not is_right:
            yield self._unplugging(f"remove {self.wanted.name}, plugged elsewhere", ovs_port)

    def _unplugging(self, what: str, ovs_port: OvsPort | None) -> Change:
        command = unplug(self.wanted, is_in_ovs=ovs_port is not None)
        return Change(what=what, detail=exec_line(command), do=partial(system.do, command))

    def _lost_addresses(self) -> Iterator[Change]:
        for address in observed.surplus(self.wanted, system.links()):
            yield Change(
                what=f"take {address} from {self.wanted.name}",
                detail=f"ip address delete {address} dev {self.wanted.name}",
                do=partial(system.remove_address, str(address), self.wanted.name),
            )

    def _differences(self) -> Iterator[str]:
        yield from observed.differences(self.wanted, system.links(), self._ovs_port())
        if not system.has_rules():
            yield "the rules are not in force"

    def _file(self, path: Path, content: str) -> Change:
        return Change(
            what=f"write {path}",
            detail=text_file.difference(text_file.read(path), content, path).rstrip("\n"),
            do=partial(text_file.write, path, content, mode=_MODE),
        )

    def _removal(self, path: Path) -> Change:
        def do() -> None:
            try:
                files.remove(path)
            except OSError as exc:
                raise ControllerError(f"{path} cannot be removed", str(exc)) from exc
            if path == self.place.unit:
                self.units.read_files()

        return Change(what=f"remove {path}", detail=f"rm {path}", do=do)

    def _enable(self) -> None:
        self.units.read_files()
        self.units.enable(UNIT)

    def _bring_up(self) -> None:
        self.units.read_files()
        try:
            self.units.restart(UNIT)
        except ControllerError as exc:
            self._await_bridge(exc)
        if left := list(self._differences()):
            raise ControllerError(
                f"{self.wanted.name} is not as it should be after {UNIT} was started",
                "; ".join(left),
            )

    def _await_bridge(self, failure: ControllerError) -> None:
        """The Linux bridge agent makes its bridge after the interface; systemd then tries again.

        Raises:
            ControllerError: that did not happen in time, or something else failed.
        """
        if self.wanted.plug is not Plug.LINUXBRIDGE:
            raise failure
        deadline = time.monotonic() + self.agent_deadline_s
        while not self.units.state(UNIT).is_active:
            if time.monotonic() > deadline:
                if self.wanted.bridge in system.links():
                    raise failure
                raise ControllerError(
                    f"there is no bridge {self.wanted.bridge}",
                    "Neutron's Linux bridge agent makes it when it sees "
                    f"{self.wanted.tap}; see that it runs on this host",
                ) from failure
            time.sleep(_POLL_S)

    def _stop(self) -> None:
        self.units.disable(UNIT)
        self.units.stop(UNIT)
