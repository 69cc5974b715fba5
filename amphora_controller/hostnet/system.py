# SPDX-License-Identifier: Apache-2.0
"""Ask the host what it has, and change it.

All of it in the network namespace of the calling thread.
"""

from amphora_controller import programs
from amphora_controller.errors import ControllerError
from amphora_controller.hostnet import observed
from amphora_controller.hostnet.interface import TABLE, Command
from amphora_controller.hostnet.observed import Link, OvsPort

_OVS_TIMEOUT_S = 10
# Of `ovs-vsctl br-exists` for a bridge that is not there (ovs-vsctl(8)).
_NO_BRIDGE = 2


def do(command: Command) -> None:
    """Run a command.

    Raises:
        ControllerError: it failed.
    """
    programs.run(*command.argv, check=not command.may_fail)


def links() -> dict[str, Link]:
    """Every interface by its name.

    Raises:
        ControllerError: `ip` failed.
    """
    return observed.links(programs.run("ip", "-json", "address", "show").stdout)


def ovs_port(name: str, database: str | None) -> OvsPort | None:
    """An interface in Open vSwitch's database, or None.

    Raises:
        ControllerError: Open vSwitch does not answer.
    """
    columns = ("--format=json", "--if-exists", "--columns=external_ids")
    ids = observed.ovs_external_ids(_ovs(database, *columns, "list", "Interface", name))
    if ids is None:
        return None
    return OvsPort(bridge=_ovs(database, "iface-to-br", name).strip(), external_ids=ids)


def expect_ovs_bridge(name: str, database: str | None) -> None:
    """See that there is a bridge.

    Raises:
        ControllerError: there is none, or Open vSwitch does not answer.
    """
    argv = _ovs_argv(database, "br-exists", name)
    done = programs.run(*argv, check=False)
    if done.returncode == _NO_BRIDGE:
        raise ControllerError(
            f"Open vSwitch has no bridge {name}",
            "Neutron's agent or ovn-controller makes it; see that it runs, or name another as "
            "host.bridge in the site",
        )
    if done.returncode != 0:
        raise _no_ovs(done.output)


def has_rules() -> bool:
    """Whether the rules are in force.

    Raises:
        ControllerError: nft is missing.
    """
    done = programs.run("nft", "list", "table", "inet", TABLE, check=False)
    return done.returncode == 0


def remove_address(address: str, interface: str) -> None:
    """Take an address away.

    Raises:
        ControllerError: `ip` failed.
    """
    programs.run("ip", "address", "delete", address, "dev", interface)


def _ovs(database: str | None, *argv: str) -> str:
    done = programs.run(*_ovs_argv(database, *argv), check=False)
    if done.returncode != 0:
        raise _no_ovs(done.output)
    return done.stdout


def _ovs_argv(database: str | None, *argv: str) -> tuple[str, ...]:
    where = () if database is None else (f"--db={database}",)
    return ("ovs-vsctl", *where, f"--timeout={_OVS_TIMEOUT_S}", *argv)


def _no_ovs(output: str) -> ControllerError:
    return ControllerError(
        "Open vSwitch does not answer",
        f"{output}; see that ovs-vswitchd runs, or choose another host.plug in the site",
    )
