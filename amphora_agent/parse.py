# SPDX-License-Identifier: Apache-2.0
"""Texts of other programs into values."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.errors import ParseError

_SECTIONS = frozenset(
    {
        *("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "mailers"),
        *("userlist", "program", "ring", "log-forward", "fcgi-app", "http-errors", "cache"),
        *("crt-store", "traces"),
    }
)
_CERTIFICATES = frozenset({"crt", "crt-list"})
# A complaint of keepalived about one line: "(name: Line 12) ..." or "(Line 12) ...".
_KEEPALIVED_LINE = re.compile(r"\((?:[^()]*: )?Line \d+\) (?P<text>.*)")
_KEEPALIVED_FATAL = ("missing '}'", "Non-existent interface specified")
# A version as controllers need it: two numbers with a dot between them, then anything.
_VERSION = re.compile(r"\bv?(\d+\.\d+\S*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontend:
    """One listener, as haproxy.cfg has it.

    Attributes:
        mode: `tcp` or `http`.
        terminates_tls: it has a bind line with a certificate list, or with the certificates
            themselves as controllers before Train wrote it.
    """

    name: str
    mode: str
    terminates_tls: bool


def without_group(config: str) -> str:
    """A haproxy configuration without `group` in its global section.

    Controllers of old releases send one; the image supplies the group of its distribution.
    """
    kept = []
    section = ""
    for line in config.splitlines(keepends=True):
        words = line.split(maxsplit=1)
        if words and words[0] in _SECTIONS:
            section = words[0]
        if not (section == "global" and words and words[0] == "group"):
            kept.append(line)
    return "".join(kept)


def frontends(config: str) -> list[Frontend]:
    """The frontends of a haproxy configuration, in the order of the file."""
    found = []
    for section, name, body in _sections(config):
        if section == "frontend":
            modes = [words[1] for words in body if words[0] == "mode" and len(words) > 1]
            tls = any(words[0] == "bind" and not _CERTIFICATES.isdisjoint(words) for words in body)
            found.append(
                Frontend(name=name, mode=modes[-1] if modes else "tcp", terminates_tls=tls)
            )
    return found


def _sections(config: str) -> Iterator[tuple[str, str, list[list[str]]]]:
    current: tuple[str, str, list[list[str]]] | None = None
    for line in config.splitlines():
        words = line.split("#", maxsplit=1)[0].split()
        if not words:
            continue
        if words[0] in _SECTIONS:
            if current:
                yield current
            current = (words[0], words[1] if len(words) > 1 else "", [])
        elif current:
            current[2].append(words)
    if current:
        yield current


def program_version(output: str) -> str:
    """The version in what a program prints about itself, without a leading `v`.

    Raises:
        ParseError: there is none.
    """
    match = _VERSION.search(output)
    if match is None:
        raise ParseError("no version found", output[:200])
    return match[1]


def net_dev(text: str) -> list[tuple[str, int, int]]:
    """Name, bytes received and bytes sent of every interface in /proc/net/dev (proc(5)).

    Raises:
        ParseError: a line has too few columns or other than numbers in them.
    """
    interfaces = []
    # Two lines of headings come first.
    for line in text.splitlines()[2:]:
        name, _, counters = line.partition(":")
        columns = counters.split()
        try:
            interfaces.append((name.strip(), int(columns[0]), int(columns[8])))
        except (IndexError, ValueError) as exc:
            raise ParseError("not a line of /proc/net/dev", line) from exc
    return interfaces


def keepalived_faults(output: str) -> list[str]:
    """What keepalived's check of a configuration found that is wrong with it.

    Its exit status does not tell: it is not 0 for mere advice, such as about peers that are not
    there yet, and 0 for some mistakes. Complaints about a line do.
    """
    faults = []
    for line in output.splitlines():
        match = _KEEPALIVED_LINE.search(line)
        if match:
            is_fault = not match["text"].startswith("WARNING") and "deprecated" not in match["text"]
        else:
            is_fault = any(sign in line for sign in _KEEPALIVED_FATAL)
        if is_fault:
            faults.append(line)
    return list(dict.fromkeys(faults))
