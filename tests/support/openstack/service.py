# SPDX-License-Identifier: Apache-2.0
"""What the services of OpenStack have in common: a configuration, a WSGI program, a user."""

import configparser
import io
import time
from collections.abc import Mapping

from tests.support.openstack import database
from tests.support.openstack.machine import Machine

REGION = "RegionOne"
KEYSTONE_PORT = 5000
KEYSTONE_URL = f"http://127.0.0.1:{KEYSTONE_PORT}/v3"
# No service here has one to talk with: agents and compute nodes are absent.
TRANSPORT = "fake://"
# Where the services' own users are, and their password.
PROJECT = "service"
PASSWORD = "service-secret"
_DEADLINE_S = 60

Configuration = Mapping[str, Mapping[str, str]]


def ini(configuration: Configuration) -> str:
    """A file of oslo.config: sections of options."""
    parser = configparser.RawConfigParser(default_section="")
    parser.read_dict(configuration)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def credentials(user: str) -> dict[str, str]:
    """Options of keystoneauth for a service's own user, in the project "service"."""
    project = {"project_name": PROJECT, "project_domain_name": "Default"}
    return {**_password(user), **project}


def limits_reader(user: str) -> dict[str, str]:
    """The same for the whole system, as [oslo_limit] needs it."""
    return {**_password(user), "system_scope": "all"}


def _password(user: str) -> dict[str, str]:
    return {
        "auth_type": "password",
        "auth_url": KEYSTONE_URL,
        "username": user,
        "password": PASSWORD,
        "user_domain_name": "Default",
    }


def token_check(user: str) -> dict[str, str]:
    """[keystone_authtoken]: how a service checks the tokens of its clients."""
    return {
        **credentials(user),
        "www_authenticate_uri": KEYSTONE_URL,
        "memcached_servers": database.MEMCACHED,
        "service_token_roles": "service",
        "service_token_roles_required": "true",
    }


def start(machine: Machine, name: str, *, program: str, port: int, user: str) -> None:
    """Start a service's WSGI program, as Debian does but with few processes.

    Args:
        name: of the service, for its log.
        program: path of the WSGI program.
        user: account that it runs as.
    """
    machine.start(
        name,
        *("uwsgi", "--plugins=python3", f"--http-socket=127.0.0.1:{port}"),
        *(f"--wsgi-file={program}", f"--uid={user}", f"--gid={user}", f"--chdir=/var/lib/{user}"),
        *("--master", "--processes=1", "--threads=4", "--enable-threads", "--lazy-apps"),
        *("--need-app", "--die-on-term", "--buffer-size=65535"),
        # Neutron numbers its workers by it.
        f"--set=start-time={time.time():.0f}",
        *("--add-header=Connection: close", "--disable-logging"),
    )


def await_answer(machine: Machine, name: str, port: int) -> None:
    """Wait until a service takes connections; the first answer may still take seconds."""
    machine.await_socket(name, port, deadline_s=_DEADLINE_S)
