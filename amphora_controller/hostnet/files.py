# SPDX-License-Identifier: Apache-2.0
"""The files that bring the interface back at every boot: a systemd unit and rules. Pure."""

import re
from collections.abc import Sequence

from amphora_controller.hostnet.interface import TABLE, Command, HostInterface, load_rules, up
from amphora_controller.template import template

UNIT = "amphora-host-interface.service"

_PLAIN = re.compile(r"[0-9A-Za-z_@:=,./+-]+")


def unit(interface: HostInterface, rules: str) -> str:
    """The unit.

    Args:
        rules: path of the file that `rules` makes.
    """
    return template("amphora-host-interface.service.j2").render(
        interface=interface.name,
        bridge=interface.bridge,
        commands=[exec_line(command) for command in up(interface, rules)],
        reload=exec_line(load_rules(rules)),
    )


def rules(
    interface: str, *, heartbeat_port: int, log_ports: Sequence[int] = (), log_protocol: str = "udp"
) -> str:
    """A text for `nft -f`: amphorae reach the health manager, the logs' ports, and no other."""
    return template("amphora-host-interface.nft.j2").render(
        table=TABLE,
        interface=interface,
        heartbeat_port=heartbeat_port,
        log_ports=log_ports,
        protocol=log_protocol,
    )


def exec_line(command: Command) -> str:
    """A command as ExecStart= takes it (systemd.service(5), "Command lines")."""
    line = " ".join(map(_word, command.argv))
    return f"-{line}" if command.may_fail else line


def _word(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    # % and $ stand for themselves when doubled.
    escaped = word.replace("\\", "\\\\").replace("'", "\\'").replace("%", "%%").replace("$", "$$")
    return f"'{escaped}'"
