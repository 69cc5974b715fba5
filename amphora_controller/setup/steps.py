# SPDX-License-Identifier: Apache-2.0
"""What a step of the set-up is: it looks, says what has to change, and changes that.

Looking and doing take turns: a step yields one change after the other, and whoever runs it either
does a change before asking for the next one or, in a dry run, only tells it. So a step finds what
it made itself a moment ago, and a run that was interrupted goes on where it stopped.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Something that is not yet as the site says.

    Attributes:
        what: a line for people: "create network lb-mgmt-net".
        detail: the API call, the command or the difference of the file, without secrets.
        do: makes it so; raises ControllerError.
    """

    what: str
    detail: str
    do: Callable[[], None]


class Step(Protocol):
    """A part of the set-up.

    Attributes:
        name: as in `amphoractl setup NAME`.
    """

    @property
    def name(self) -> str:
        """See above."""

    def changes(self) -> Iterator[Change]:
        """What has to change; nothing if all is as the site says.

        In a dry run nothing is done in between. What would depend on the id of something that is
        not there yet then shows `<id of network lb-mgmt-net>` in its place.

        Raises:
            ControllerError: it cannot be found out, or something else is in the way.
        """

    def removals(self) -> Iterator[Change]:
        """What has to change so that nothing of the step's own making is left.

        Raises:
            ControllerError: it cannot be found out.
        """
