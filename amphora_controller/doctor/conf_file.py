# SPDX-License-Identifier: Apache-2.0
"""What octavia.conf sets, with the names of other options in it replaced as oslo.config does."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from amphora_controller import oslo_conf
from amphora_controller.errors import ControllerError
from amphora_controller.oslo_conf import Sections

# oslo.config's BoolOpt.
_TRUE = frozenset({"true", "1", "on", "yes"})


class _Unset(Exception):
    """A name that the file does not set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfFile:
    """What a file sets; names of sections are in lower case, but for DEFAULT."""

    sections: Sections = field(repr=False)

    def text(self, section: str, option: str) -> str | None:
        """A value; None if it is not set, or has the name of an option in it that is not."""
        written = self.written(section, option)
        try:
            return None if written is None else self._expanded(section, written, ())
        except _Unset:
            return None

    def written(self, section: str, option: str) -> str | None:
        """A value as it stands there, less its quotes; None if it is not set."""
        return self.sections.get(section, {}).get(option)

    def is_unresolved(self, section: str, option: str) -> bool:
        """Whether a value is set and has the name of an option in it that is not."""
        return self.written(section, option) is not None and self.text(section, option) is None

    def items(self, section: str, option: str) -> tuple[str, ...]:
        """A value as a list."""
        parts = (part.strip() for part in (self.text(section, option) or "").split(","))
        return tuple(part for part in parts if part)

    def flag(self, section: str, option: str) -> bool:
        """A value that is true or false; false if it is not set."""
        return (self.text(section, option) or "").lower() in _TRUE

    def number(self, section: str, option: str, default: int) -> int:
        """A value that is a number.

        Raises:
            ControllerError: it is none.
        """
        text = self.text(section, option)
        if text is None:
            return default
        try:
            return int(text)
        except ValueError as exc:
            raise ControllerError(
                f"[{section}] {option} is {text!r}, not a number", "Octavia's services do not start"
            ) from exc

    def sections_of(self, option: str) -> tuple[str, ...]:
        """Where an option is set."""
        return tuple(name for name, options in self.sections.items() if option in options)

    def places(self) -> Iterator[tuple[str, str]]:
        """Section and name of every option that is set."""
        for section, options in self.sections.items():
            for option in options:
                yield section, option

    def _expanded(self, section: str, written: str, within: tuple[tuple[str, str], ...]) -> str:
        """A value of a section; `within` are places that led to it, which must not come again."""

        def option(name: str) -> str:
            place = self._place(section, name)
            if place is None or place in within:
                raise _Unset
            found = self.sections[place[0]][place[1]]
            return self._expanded(place[0], found, (*within, place))

        return oslo_conf.expanded(written, option)

    def _place(self, section: str, name: str) -> tuple[str, str] | None:
        """Where the value is that `$name`, here or in DEFAULT, or `$section.name` stands for."""
        group, dot, option = name.partition(".")
        first = (group.lower(), option) if dot else (section, name)
        places = (first, ("DEFAULT", name))
        return next((place for place in places if self.written(*place) is not None), None)


def load(path: Path) -> ConfFile:
    """What a file sets.

    Raises:
        ControllerError: it cannot be read, or oslo.config would not read it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not UTF-8"
        raise ControllerError(
            f"{path} cannot be read: {reason}", "--octavia-conf FILE names it; it is root's to read"
        ) from exc
    return ConfFile(sections=oslo_conf.parse(text, path.name))
