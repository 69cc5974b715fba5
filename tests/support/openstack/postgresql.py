# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL, with the cluster that Debian's package makes."""

from pathlib import Path

from tests.support.openstack.machine import Machine

PORT = 5432
# Of the server as a whole; by the socket it needs no password. The name is one that every host has
# with the same number, since the socket tells numbers alone.
SUPERUSER = "daemon"
PASSWORD = "operator-secret"
# May log in, and nothing else; likewise.
UNPRIVILEGED = "games"
_DEADLINE_S = 60


def start(machine: Machine, sockets: Path) -> None:
    """Start it and wait for it.

    Args:
        sockets: a directory that host and machine see alike, for one more socket.
    """
    (cluster,) = machine.path("/etc/postgresql").glob("*/main")
    version = cluster.parent.name
    machine.run("install", "-d", "-o", "postgres", "-m", "0755", str(sockets))
    machine.run("install", "-d", "-o", "postgres", "/run/postgresql")
    machine.start(
        "postgresql",
        *("runuser", "-u", "postgres", "--", f"/usr/lib/postgresql/{version}/bin/postgres"),
        *("-D", f"/var/lib/postgresql/{version}/main"),
        *("-c", f"config_file=/etc/postgresql/{version}/main/postgresql.conf"),
        *("-c", "listen_addresses=127.0.0.1", "-c", f"port={PORT}", "-c", "fsync=off"),
        *("-c", f"unix_socket_directories=/run/postgresql,{sockets}"),
    )
    machine.await_socket("postgresql", PORT, deadline_s=_DEADLINE_S)
    query(
        machine,
        f"CREATE ROLE {SUPERUSER} LOGIN SUPERUSER PASSWORD '{PASSWORD}'",
        f"CREATE ROLE {UNPRIVILEGED} LOGIN",
    )


def query(machine: Machine, *statements: str, database: str = "postgres") -> str:
    """Run statements as the server's own administrator; the rows, a column after the other."""
    options = ("--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")
    text = "".join(f"{statement};\n" for statement in statements)
    argv = ("runuser", "-u", "postgres", "--", "psql", *options, database)
    return machine.run(*argv, stdin=text)
