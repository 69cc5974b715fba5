# SPDX-License-Identifier: Apache-2.0
"""What oslo.config makes of a file in which every option is a string.

Started by the interpreter of Octavia's virtual environment. Reads lines of JSON, each a text, and
answers each with {"values": [[section, key, value or null if it cannot be resolved], …]} or, for a
file that is refused, {"error": name of the exception}.
"""
# oslo.config is not installed where types are checked.
# mypy: disable-error-code="import-not-found,import-untyped"

import json
import sys
import tempfile
from typing import Any

from oslo_config import cfg, iniparser


class _Lines(iniparser.BaseParser):  # type: ignore[misc]
    """Collects which options a text sets."""

    def __init__(self) -> None:
        super().__init__()
        self.section = ""
        self.found: dict[tuple[str, str], None] = {}

    def new_section(self, section: str) -> None:
        self.section = section

    def assignment(self, key: str, value: list[str]) -> None:  # noqa: ARG002  # the base class calls it so
        self.found[self.section, key] = None


def answer(text: str) -> dict[str, Any]:
    """What oslo.config makes of one text."""
    lines = _Lines()
    options = cfg.ConfigOpts()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as stream:
        stream.write(text)
        stream.flush()
        try:
            lines.parse(text.splitlines(keepends=True))
            options(args=[], default_config_files=[stream.name], default_config_dirs=[])
        except (iniparser.ParseError, cfg.Error) as exc:
            return {"error": type(exc).__name__}
        places = {(_group(section), key) for section, key in lines.found}
        for group, key in places:
            options.register_opt(cfg.StrOpt(key), group=None if group == "DEFAULT" else group)
        return {"values": [[group, key, _value(options, group, key)] for group, key in places]}


def _group(section: str) -> str:
    return section if section == "DEFAULT" else section.lower()


def _value(options: Any, group: str, key: str) -> str | None:
    try:
        found = getattr(options if group == "DEFAULT" else getattr(options, group), key)
    except (cfg.Error, ValueError, RecursionError):
        return None
    return None if found is None else str(found)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
