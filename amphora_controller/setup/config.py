# SPDX-License-Identifier: Apache-2.0
"""octavia.conf of this host."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amphora_controller import octavia_conf, octavia_file, text_file
from amphora_controller.certificates import check
from amphora_controller.certificates.check import Limits, Severity
from amphora_controller.certificates.store import Store
from amphora_controller.errors import ControllerError
from amphora_controller.setup.context import Context
from amphora_controller.setup.ids import cloud_ids
from amphora_controller.setup.steps import Change
from amphora_controller.site import Site


@dataclass(frozen=True, slots=True)
class ConfigStep:
    """octavia.conf with ids that the cloud has, written if the files that it names are right."""

    context: Context
    name = "config"

    def changes(self) -> Iterator[Change]:
        """See Step."""
        path = self._path
        text = rendered(self.context)
        before = text_file.read(path)
        if before != text:
            yield Change(
                what=f"write {path}",
                detail=octavia_file.difference(before, text, path).rstrip("\n"),
                do=lambda: self._write(text),
            )

    def removals(self) -> Iterator[Change]:
        """See Step; the file comes back that was there before the first run."""
        path = self._path
        if octavia_conf.is_rendered(text_file.read(path)):
            first = octavia_file.original(path)
            yield Change(
                what=f"put back {path} as it was" if first.exists() else f"remove {path}",
                detail=f"mv {first} {path}" if first.exists() else f"rm {path}",
                do=lambda: octavia_file.restore(path),
            )

    def _write(self, text: str) -> None:
        problems = list(file_problems(self.context.site))
        if problems:
            raise ControllerError(f"{self._path} was not written", "\n".join(problems))
        owner = self.context.site.octavia.owner
        group = owner.partition(":")[2] or owner
        octavia_file.replace(self._path, text, f"root:{group}" if owner else "")

    @property
    def _path(self) -> Path:
        return Path(self.context.site.octavia.conf)


def rendered(context: Context) -> str:
    """The text that octavia.conf is to have on this host.

    Raises:
        ControllerError: what it has to name was not made yet.
    """
    return octavia_conf.render(context.site, context.controller, cloud_ids(context), context.source)


def file_problems(site: Site) -> Iterator[str]:
    """What is wrong with the files that octavia.conf names, so that Octavia could not work."""
    findings = check.findings(
        Store(directory=Path(site.certificates.directory)),
        now=datetime.datetime.now(datetime.UTC),
        limits=Limits(),
        passphrase=site.certificates.ca_passphrase,
    )
    for finding in findings:
        if finding.severity is Severity.CRITICAL:
            yield f"{finding.subject}: {finding.message}"
    cafile = site.keystone.cafile
    if cafile is not None and not Path(cafile).is_file():
        yield f"{cafile}: there is no such file (keystone.cafile)"
