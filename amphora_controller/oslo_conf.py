# SPDX-License-Identifier: Apache-2.0
"""Files of oslo.config, such as octavia.conf, read by its rules.

Python's configparser has others. Here a value may go on in lines that are indented, quotes around
it fall away, the last of several counts, and `$` begins the name of another option unless it is
doubled or follows a backslash. Known from oslo.config 10.7, which is the judge in the tests.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from amphora_controller.errors import ControllerError

Sections = Mapping[str, Mapping[str, str]]
"""Values as they stand in a file, by section (in lower case, but for DEFAULT) and option."""

# What oslo.config takes for the name of an option; any other `$` is itself.
_DOLLAR = re.compile(r"\$(?:(\$)|([_a-z][._a-z0-9]*)|\{([_a-z][._a-z0-9]*)\})", re.IGNORECASE)


def parse(text: str, source: str) -> Sections:
    """What is set in a file.

    Args:
        source: the file, to be named in errors.

    Raises:
        ControllerError: oslo.config would not read it either.
    """
    sections: dict[str, dict[str, str]] = {}
    options: dict[str, str] | None = None
    for number, line in _statements(text, source):
        if line.startswith("["):
            if not line.endswith("]") or line == "[]":
                raise _fault(source, number, "a section is [name], and nothing else in its line")
            name = line[1:-1]
            options = sections.setdefault(name if name == "DEFAULT" else name.lower(), {})
            continue
        option, separator, value = _divided(line)
        if not separator or not option:
            raise _fault(source, number, "an option is name = value")
        if options is None:
            raise _fault(source, number, "an option needs a section before it")
        options[option] = value
    return sections


def expanded(value: str, option: Callable[[str], str]) -> str:
    """A value with every `$$` and backslash before a `$` taken away, and names replaced.

    Args:
        option: what the name of an option stands for: `name`, or `section.name`.
    """

    def dollar(found: re.Match[str]) -> str:
        escaped, bare, braced = found.groups()
        return "$" if escaped else option(bare or braced)

    return _DOLLAR.sub(dollar, value.replace(r"\$", "$$"))


def resolved(name: str, value: str) -> str:
    """A value that has no other option in it; see expanded.

    Args:
        name: of the option, to be named in errors.

    Raises:
        ControllerError: it has the value of another option in it.
    """

    def refused(other: str) -> str:
        raise ControllerError(
            f"{name} stands for the value of another option, ${other}",
            "a dollar sign itself is written twice",
        )

    return expanded(value, refused)


def _statements(text: str, source: str) -> Iterator[tuple[int, str]]:
    """Sections and options, each with the number of its first line and the lines that go on."""
    start, lines = 0, list[str]()
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.rstrip()
        if line.startswith((" ", "\t")):
            if not lines:
                raise _fault(source, number, "an indented line goes on with an option before it")
            lines.append(line.lstrip())
            continue
        if lines:
            yield start, "\n".join(lines)
            lines = []
        if line.startswith("["):
            yield number, line
        elif line and not line.startswith(("#", ";")):
            start, lines = number, [line]
    if lines:
        yield start, "\n".join(lines)


def _divided(statement: str) -> tuple[str, str, str]:
    """Name, separator (empty if there is none) and value of an option."""
    first, newline, rest = statement.partition("\n")
    found = re.search("[:=]", first)
    if found is None:
        return "", "", ""
    value = first[found.end() :].strip()
    if value and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return first[: found.start()].strip(), found[0], value + newline + rest


def _fault(source: str, number: int, hint: str) -> ControllerError:
    return ControllerError(f"{source} is no configuration file, see line {number}", hint)
