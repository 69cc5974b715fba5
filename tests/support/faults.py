# SPDX-License-Identifier: Apache-2.0
"""Ports of the agent that fail once, at a chosen step, and otherwise do what they should."""

import dataclasses
import errno
from dataclasses import dataclass, field
from typing import Any, NoReturn

from amphora_agent.errors import CommandFailed
from amphora_agent.operations.context import Context

# What a change does to the machine goes through these.
PORTS = ("disk", "services", "haproxy", "keepalived", "nftables")
# What only looks: that it fails is the same before and after it was done.
_LOOKS = frozenset({"read", "is_active", "check", "query", "current"})


@dataclass(slots=True)
class Fault:
    """Counts the steps, and fails one of them.

    Attributes:
        at: number of the step, from 1 on; 0 for none.
        late: it does what it should, and only says that it failed; what only looks is no step then.
        steps: what was called so far.
    """

    at: int = 0
    late: bool = False
    steps: list[str] = field(default_factory=list)

    @property
    def struck(self) -> bool:
        """Whether the step was reached."""
        return 0 < self.at <= len(self.steps)


@dataclass(frozen=True, slots=True)
class _Port:
    """Does what another one does, or fails."""

    name: str
    real: Any
    fault: Fault

    def __getattr__(self, verb: str) -> Any:
        real = getattr(self.real, verb)

        if self.fault.late and verb in _LOOKS:
            return real

        def call(*arguments: Any, **named: Any) -> Any:
            self.fault.steps.append(f"{self.name}.{verb} {arguments[0] if arguments else ''}")
            fails = len(self.fault.steps) == self.fault.at
            if fails and not self.fault.late:
                self._fail()
            result = real(*arguments, **named)
            if fails:
                self._fail()
            return result

        return call

    def _fail(self) -> NoReturn:
        if self.name == "disk":
            raise OSError(errno.ENOSPC, "the fault of this test")
        raise CommandFailed("the fault of this test", returncode=1, output="on purpose")


def faulty(context: Context, fault: Fault) -> Context:
    """The same context, with ports that a fault can strike."""
    ports = {name: _Port(name, getattr(context, name), fault) for name in PORTS}
    return dataclasses.replace(context, **ports)  # type: ignore[arg-type]  # by their verbs
