# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on the controller side, and what to do about it."""


class ControllerError(Exception):
    """Something that a command refuses or cannot do.

    Attributes:
        message: what failed, in one short line that names the thing.
        hint: the next step.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message
