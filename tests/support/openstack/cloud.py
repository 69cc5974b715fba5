# SPDX-License-Identifier: Apache-2.0
"""The whole cloud, and the clouds.yaml of those who use it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openstack
import yaml
from openstack.connection import Connection

from tests.support.netns import Namespace, namespace
from tests.support.openstack import database, glance, keystone, neutron, nova, registry, service
from tests.support.openstack.machine import Machine, machine

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
# Where test.sh has make_root.sh put it.
ROOT = Path(os.environ.get("AMPHORA_OPENSTACK_ROOT", _CACHE / "amphora-test/openstack-root"))
ADMIN = "lab"
UNPRIVILEGED = "lab-member"
EXHAUSTED = "lab-full"
_TENANT_PASSWORD = "tenant-secret"
_STARTED = (("glance", glance.PORT), ("neutron", neutron.PORT), ("nova", nova.PORT))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cloud:
    """A cloud that answers; its addresses are those of its namespace alone.

    Attributes:
        clouds_yaml: credentials, as openstacksdk reads them (OS_CLIENT_CONFIG_FILE).
        name: the administrator's entry there.
        unprivileged: that of a user who is a mere member of a project.
        exhausted: that of an administrator whose project has no quota left.
        namespace: whoever talks to the cloud must be inside.
        machine: where its services run.
    """

    clouds_yaml: Path
    name: str
    unprivileged: str
    exhausted: str
    namespace: Namespace
    machine: Machine

    @contextmanager
    def connection(self, name: str) -> Iterator[Connection]:
        """The calling thread inside, with a connection of one of the entries."""
        with connection(self.clouds_yaml, name, self.namespace) as made:
            yield made


def is_installed() -> bool:
    """Whether make_root.sh has run."""
    return (ROOT / ".made-by").exists()


@contextmanager
def cloud(directory: Path) -> Iterator[Cloud]:
    """Start a cloud; nothing of it runs afterwards.

    Args:
        directory: empty; keeps logs and clouds.yaml.

    Raises:
        FileNotFoundError: make_root.sh has not run.
    """
    if not is_installed():
        raise FileNotFoundError(f"no cloud's programs in {ROOT}; ./test.sh --openstack makes it")
    clouds_yaml = directory / "clouds.yaml"
    clouds_yaml.write_text(yaml.safe_dump(_clouds()))
    with namespace("cloud") as inside, machine(ROOT, directory, inside) as host:
        database.start(host)
        keystone.start(host)
        made = Cloud(
            clouds_yaml=clouds_yaml,
            name=ADMIN,
            unprivileged=UNPRIVILEGED,
            exhausted=EXHAUSTED,
            namespace=inside,
            machine=host,
        )
        # They start while Keystone gets to know them.
        neutron.start(host)
        nova.start(host)
        with made.connection(ADMIN) as admin:
            glance.start(host, registry.register_services(admin))
            registry.create_tenant(admin, UNPRIVILEGED, _TENANT_PASSWORD, ("member",))
            full = registry.create_tenant(admin, EXHAUSTED, _TENANT_PASSWORD, ("admin",))
        for name, port in _STARTED:
            service.await_answer(host, name, port)
        # A token of before does not know the services.
        with made.connection(ADMIN) as admin:
            registry.exhaust(admin, full)
        yield made


@contextmanager
def connection(clouds_yaml: Path, name: str, inside: Namespace) -> Iterator[Connection]:
    """The calling thread inside a namespace, with a connection of an entry of clouds.yaml."""
    config = openstack.config.OpenStackConfig(config_files=[str(clouds_yaml)], load_envvars=False)
    with inside.entered(), Connection(config=config.get_one(name)) as made:
        yield made


def _clouds() -> dict[str, object]:
    entries = {
        ADMIN: ("admin", keystone.ADMIN_PASSWORD),
        UNPRIVILEGED: (UNPRIVILEGED, _TENANT_PASSWORD),
        EXHAUSTED: (EXHAUSTED, _TENANT_PASSWORD),
    }
    return {
        "clouds": {
            entry: {
                "auth": {
                    "auth_url": service.KEYSTONE_URL,
                    "username": user,
                    "password": password,
                    "project_name": user,
                    "user_domain_name": "Default",
                    "project_domain_name": "Default",
                },
                "region_name": service.REGION,
                "interface": "internal",
            }
            for entry, (user, password) in entries.items()
        }
    }
