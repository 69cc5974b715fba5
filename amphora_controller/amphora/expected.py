# SPDX-License-Identifier: Apache-2.0
"""Which revision must be served for a change to be made (docs/api-2.0.md, "Revisions")."""

import re
from dataclasses import dataclass

from amphora_controller.errors import ControllerError

_WORDS = re.compile(r"(\d{1,9})(?:-([0-9a-f]{8}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """A revision as somebody knows it.

    Attributes:
        number: 0 for no load balancer at all.
        generation: begins anew when a load balancer is deleted and made again; None for any.
    """

    number: int
    generation: str | None = None

    def __str__(self) -> str:
        if not self.number:
            return "no load balancer"
        known = f"revision {self.number}"
        return known if self.generation is None else f"{known}-{self.generation}"


def parse(text: str) -> Expected:
    """What stands on a command line: 0, 3 or 3-1b9e04c2.

    Raises:
        ControllerError: it is none of these.
    """
    found = _WORDS.fullmatch(text)
    if found is None or (found[2] and not int(found[1])):
        raise ControllerError(
            f"{text!r} is no revision", "right is 3, or with its generation 3-1b9e04c2; 0 is none"
        )
    return Expected(number=int(found[1]), generation=found[2])
