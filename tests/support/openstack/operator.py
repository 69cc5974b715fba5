# SPDX-License-Identifier: Apache-2.0
"""An operator of a cloud: a site's file, a host's directories, and amphoractl."""

import contextlib
import io
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from amphora_controller import cli, site
from amphora_controller.setup import cloud as door
from amphora_controller.setup.context import Context
from tests.support.openstack import service
from tests.support.openstack.cloud import Cloud

HOST = "ctl1"
# The steps that a cloud without agents, and a host without Octavia, can be asked for.
STEPS = ("keystone", "certs", "image", "keypair", "flavor", "network", "config", "verify")
# Every one of them is a secret that nothing may print.
PASSWORD = "pass@word:/$x'9"
PASSPHRASE = "pass-of-the-authority"
HEARTBEAT_KEY = "key-of-the-heartbeats"
STORAGE_KEY = "k" * 32
SECRETS = (PASSWORD, PASSPHRASE, HEARTBEAT_KEY, STORAGE_KEY)
_PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJizGTG1dIVh5yVN7A7F3OyY/46bYer99wxA2u/gyESJ"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What a command left.

    Attributes:
        output: of both channels.
    """

    status: int
    output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """Somebody who runs amphoractl on a controller.

    Attributes:
        directory: has the site's file and the host's own files.
        steps: those that may have made something.
    """

    cloud: Cloud
    directory: Path
    steps: set[str] = field(default_factory=set)

    @property
    def site(self) -> Path:
        """The site's file."""
        return self.directory / "site.yaml"

    @property
    def image(self) -> Path:
        """A raw image of one MiB."""
        return self.directory / "amphora.raw"

    @property
    def conf(self) -> Path:
        """octavia.conf."""
        return self.directory / "etc" / "octavia.conf"

    @property
    def certificates(self) -> Path:
        """Their directory."""
        return self.directory / "certs"

    def document(self) -> dict[str, Any]:
        """The site as its file holds it."""
        document: dict[str, Any] = yaml.safe_load(self.site.read_text())
        return document

    def change(self, **changes: Any) -> None:
        """Change the site's file, by `part__field` or `part`; None takes a field away."""
        document = self.document()
        for place, value in changes.items():
            *parts, field = place.split("__")
            holder = document
            for part in parts:
                holder = holder[part]
            if value is None:
                del holder[field]
            else:
                holder[field] = value
        self.site.write_text(yaml.safe_dump(document))

    def run(self, command: str, *argv: str, user: str | None = None) -> Ran:
        """amphoractl in this process, as the administrator or another entry of clouds.yaml.

        Args:
            argv: options, and steps: STEPS where none is named.
        """
        argv = self._with_steps(argv)
        output = io.StringIO()
        with (
            self.cloud.namespace.entered(),
            mock.patch.dict(os.environ, self._environment()),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            status = cli.main([command, *self._options(user), *argv])
        return Ran(status=status, output=output.getvalue())

    def start(self, command: str, *argv: str) -> "subprocess.Popen[str]":
        """amphoractl in a process of its own, which can be killed; see run."""
        argv = self._with_steps(argv)
        return subprocess.Popen(
            self.cloud.namespace.command(
                *(sys.executable, "-m", "amphora_controller", command),
                *(*self._options(None), *argv),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self._environment()},
        )

    @contextmanager
    def entry(self, name: str, *, auth: Mapping[str, str], **fields: str) -> Iterator[str]:
        """One more entry of clouds.yaml: the administrator's, with changes."""
        before = self.cloud.clouds_yaml.read_text()
        entries = yaml.safe_load(before)
        admin = entries["clouds"][self.cloud.name]
        entries["clouds"][name] = {**admin, **fields, "auth": {**admin["auth"], **auth}}
        self.cloud.clouds_yaml.write_text(yaml.safe_dump(entries))
        try:
            yield name
        finally:
            self.cloud.clouds_yaml.write_text(before)

    @contextmanager
    def context(self, door: type[door.Cloud] = door.Cloud) -> Iterator[Context]:
        """What steps get, with the calling thread inside the cloud's namespace."""
        with (
            self.cloud.namespace.entered(),
            mock.patch.dict(os.environ, self._environment()),
        ):
            yield Context(
                site=site.load(self.site),
                source=self.site.name,
                host=HOST,
                cloud=door(self.cloud.name),
            )

    def _with_steps(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        named = [word for word in argv if not word.startswith("-")]
        self.steps.update(named or STEPS)
        return argv if named else (*argv, *STEPS)

    def _options(self, user: str | None) -> tuple[str, ...]:
        return (
            "--site",
            str(self.site),
            "--controller",
            HOST,
            "--os-cloud",
            user or self.cloud.name,
        )

    def _environment(self) -> Mapping[str, str]:
        return {"OS_CLIENT_CONFIG_FILE": str(self.cloud.clouds_yaml)}


@contextmanager
def operator(cloud: Cloud, directory: Path) -> Iterator[Operator]:
    """An operator with a whole site; what amphoractl made is removed afterwards."""
    made = Operator(cloud=cloud, directory=directory)
    made.image.write_bytes(secrets.token_bytes(1 << 20))
    key = directory / "id.pub"
    key.write_text(f"{_PUBLIC_KEY} somebody@somewhere\n")
    made.site.write_text(yaml.safe_dump(_document(made, key)))
    yield made
    if made.steps:
        left = made.run("teardown", "--yes", "--certificates", *made.steps)
        assert left.status == 0, left.output


def _document(made: Operator, key: Path) -> dict[str, Any]:
    return {
        "name": "lab",
        "controllers": [{"name": HOST, "management_ip": "192.0.2.11"}],
        "database": {"host": HOST, "password": PASSWORD},
        "messaging": {"hosts": [f"{HOST}:5672"], "password": PASSWORD},
        "keystone": {"auth_url": service.KEYSTONE_URL, "password": PASSWORD},
        "management": {
            "network": {
                "subnets": [{"cidr": "192.0.2.0/24", "pool": ["192.0.2.100", "192.0.2.200"]}]
            }
        },
        "amphora": {
            "image": {"file": str(made.image)},
            "ssh_key": "octavia_ssh_key",
            "ssh_public_key": str(key),
        },
        # Nothing answers there.
        "endpoints": {"public": "http://127.0.0.1:9876"},
        "health": {"heartbeat_key": HEARTBEAT_KEY},
        "certificates": {
            "ca_passphrase": PASSPHRASE,
            "storage_keys": [STORAGE_KEY],
            "directory": str(made.certificates),
            "key": "ecdsa-p256",
        },
        "octavia": {"conf": str(made.conf), "owner": ""},
    }
