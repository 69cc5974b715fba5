# SPDX-License-Identifier: Apache-2.0
"""Programs of the controller's host."""

from amphora_agent.errors import CommandFailed
from amphora_agent.system import process
from amphora_agent.system.process import Completed
from amphora_controller.errors import ControllerError

_TIMEOUT_S = 120.0


def run(*argv: str, check: bool = True, timeout_s: float = _TIMEOUT_S) -> Completed:
    """Run a program to its end, in the network namespace of the calling thread.

    Args:
        check: treat an exit status other than 0 as an error.

    Raises:
        ControllerError: it is missing, ran out of time, or (with `check`) failed; the hint is what
            it printed.
    """
    try:
        return process.run(argv, timeout_s=timeout_s, check=check)
    except CommandFailed as exc:
        raise ControllerError(exc.message, exc.details) from exc
