# SPDX-License-Identifier: Apache-2.0
"""MariaDB, with the databases that make_root.sh made, and memcached."""

from tests.support.openstack.machine import Machine

DATABASE_PORT = 3306
MEMCACHED_PORT = 11211
# Of the server as a whole, as an operator has it; see make_root.sh.
OPERATOR = "operator"
OPERATOR_PASSWORD = "operator-secret"
# [keystone_authtoken] and [cache] of all services.
MEMCACHED = f"127.0.0.1:{MEMCACHED_PORT}"
_DEADLINE_S = 60


def url(database: str) -> str:
    """`connection` of a service's configuration."""
    return f"mysql+pymysql://openstack:openstack-secret@127.0.0.1:{DATABASE_PORT}/{database}"


def start(machine: Machine) -> None:
    """Start both and wait for them."""
    machine.run("install", "-d", "-o", "mysql", "/run/mysqld")
    machine.start(
        "mariadb",
        *("mariadbd", "--user=mysql", "--bind-address=127.0.0.1", f"--port={DATABASE_PORT}"),
        # What lies in memory anyway needs no safety.
        *("--innodb-flush-log-at-trx-commit=0", "--skip-innodb-doublewrite"),
        *("--skip-name-resolve", "--max-connections=400"),
    )
    machine.start(
        "memcached",
        *("memcached", "-u", "memcache", "-l", "127.0.0.1", "-p", str(MEMCACHED_PORT), "-U", "0"),
    )
    machine.await_socket("mariadb", DATABASE_PORT, deadline_s=_DEADLINE_S)
    machine.await_socket("memcached", MEMCACHED_PORT, deadline_s=_DEADLINE_S)
