# SPDX-License-Identifier: Apache-2.0
"""Octavia's own programs: the tables of this release, and units that run by this octavia.conf."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from amphora_controller import programs
from amphora_controller.errors import ControllerError
from amphora_controller.setup.context import Context
from amphora_controller.setup.steps import Change
from amphora_controller.site_host import ServicesSite
from amphora_controller.units import SystemdUnits, Units, UnitState

# Minutes, for a large database of an old release.
_MIGRATION_TIMEOUT_S = 1800.0
# How `current` marks the newest revision (alembic's command of that name).
_NEWEST = "(head)"
_EXCEPTION = re.compile(r"\b[A-Za-z_.]+(?:Error|Exception): .*")


@dataclass(frozen=True, slots=True)
class ServicesStep:
    """The tables of the database, and the services; nothing where the site has no `services`."""

    context: Context
    units: Units = field(default_factory=SystemdUnits)
    name: str = field(default="services", init=False)

    def changes(self) -> Iterator[Change]:
        """See Step.

        Raises:
            ControllerError: octavia.conf, a program or a unit is missing; or the database is not
                reached.
        """
        services = self.context.site.services
        if services is None:
            return
        if not self._conf.exists():
            raise ControllerError(f"there is no {self._conf}", "amphoractl setup config writes it")
        yield from self._migration(services)
        for unit in unit_names(services):
            yield from self._unit(unit, self._existing(unit))

    def removals(self) -> Iterator[Change]:
        """See Step; units and tables stay, since packages and migrations made them."""
        services = self.context.site.services
        for unit in reversed(unit_names(services) if services else []):
            state = self.units.state(unit)
            if state.is_there and state.is_active:
                yield Change(
                    what=f"stop {unit}",
                    detail=f"systemctl stop {unit}",
                    do=partial(self.units.stop, unit),
                )
            if state.is_there and state.is_enabled:
                yield Change(
                    what=f"have {unit} started at boots no more",
                    detail=f"systemctl disable {unit}",
                    do=partial(self.units.disable, unit),
                )

    @property
    def _conf(self) -> Path:
        return Path(self.context.site.octavia.conf)

    def _migration(self, services: ServicesSite) -> Iterator[Change]:
        there = self._db_manage(services, "current").split()
        if _NEWEST in there:
            return
        yield Change(
            what="bring the database's tables to this release of Octavia",
            detail="\n".join(
                (
                    f"from revision {there[-1]}" if there else "from an empty database",
                    " ".join(self._command(services, "upgrade", "head")),
                )
            ),
            do=lambda: self._upgrade(services),
        )

    def _upgrade(self, services: ServicesSite) -> None:
        self._db_manage(services, "upgrade", "head")

    def _db_manage(self, services: ServicesSite, *argv: str) -> str:
        command = self._command(services, *argv)
        done = programs.run(*command, check=False, timeout_s=_MIGRATION_TIMEOUT_S)
        if done.returncode != 0:
            raise ControllerError(
                f"octavia-db-manage {' '.join(argv)} failed: {reason(done.output)}",
                f"see all of it: {' '.join(command)}",
            )
        return done.stdout

    def _command(self, services: ServicesSite, *argv: str) -> tuple[str, ...]:
        user = self.context.site.octavia.owner.partition(":")[0]
        # Files of its log belong to the services.
        as_user = ("runuser", "-u", user, "--") if user and os.geteuid() == 0 else ()
        return (*as_user, services.db_manage, "--config-file", str(self._conf), *argv)

    def _existing(self, unit: str) -> UnitState:
        state = self.units.state(unit)
        if not state.is_there:
            raise ControllerError(
                f"there is no unit {unit}",
                "install Octavia's packages, or name this host's units as services.units in the "
                "site",
            )
        if state.is_masked:
            raise ControllerError(
                f"{unit} is masked: somebody has forbidden it", f"systemctl unmask {unit}"
            )
        return state

    def _unit(self, unit: str, state: UnitState) -> Iterator[Change]:
        if not state.is_enabled:
            yield Change(
                what=f"have {unit} started at every boot",
                detail=f"systemctl enable {unit}",
                do=partial(self.units.enable, unit),
            )
        if state.since_s is None:
            what = f"start {unit}"
        elif self._conf.stat().st_mtime > state.since_s:
            what = f"restart {unit}, which runs with an older octavia.conf"
        elif state.is_stale:
            what = f"restart {unit}, whose unit file has changed"
        else:
            return
        yield Change(
            what=what,
            detail=f"systemctl restart {unit}",
            do=partial(self._restart, unit),
        )

    def _restart(self, unit: str) -> None:
        self.units.read_files()
        self.units.restart(unit)


def unit_names(services: ServicesSite) -> list[str]:
    """The site's units, as systemd calls them."""
    return [name if "." in name else f"{name}.service" for name in services.units]


def reason(output: str) -> str:
    """Why a program of OpenStack ended, from its output, which mostly is a Python traceback."""
    errors = _EXCEPTION.findall(output)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return str((errors or lines or ["it says nothing"])[-1])
