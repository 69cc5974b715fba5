# SPDX-License-Identifier: Apache-2.0
"""rsyslog's own judgement of a configuration."""

import re
from pathlib import Path

from amphora_agent.errors import CommandFailed, Refused
from amphora_agent.system import process

CONFIG = Path("/etc/rsyslog.conf")

_CHECK_TIMEOUT_S = 20.0
_SHOWN_MAX = 5
# What follows a message: its version and a link.
_TAIL = re.compile(r" \[v[\d.]+[^\]]*\]$")


def check(config: Path = CONFIG) -> None:
    """Have rsyslog read its configuration, with all that it includes.

    Raises:
        Refused: it does not take it; the details are its own words.
        CommandFailed: it could not be asked.
    """
    argv = ["/usr/sbin/rsyslogd", "-N1", "-f", str(config)]
    done = process.run(argv, timeout_s=_CHECK_TIMEOUT_S, check=False)
    if done.returncode == 0:
        return
    lines = [line.removeprefix("rsyslogd: ") for line in done.output.splitlines()]
    faults = [_TAIL.sub("", line) for line in lines if "error" in line or "invalid" in line]
    if not faults:
        raise CommandFailed(
            "rsyslog does not check its configuration",
            returncode=done.returncode,
            output=done.output,
        )
    raise Refused("rsyslog does not take the configuration", "; ".join(faults[:_SHOWN_MAX]))
