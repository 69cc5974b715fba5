# SPDX-License-Identifier: Apache-2.0
"""Texts of other programs into values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from amphora_agent import haproxycfg
from amphora_agent.errors import ParseError

_CERTIFICATES = frozenset({"crt", "crt-list"})
# A complaint of keepalived about one line: "(name: Line 12) ..." or "(Line 12) ...".
_KEEPALIVED_LINE = re.compile(r"\((?:[^()]*: )?Line \d+\) (?P<text>.*)")
# A pool has no members at first.
_KEEPALIVED_ADVICE = ("deprecated", "has no real servers - ignoring")
# Octavia writes `gateway` for `via`: keepalived leaves that route out, and the rest works.
_KEEPALIVED_OF_OCTAVIA = (
    "VRRP parsed invalid IP gateway. skipping IP...",
    "unknown route keyword gateway",
)
_KEEPALIVED_FATAL = ("missing '}'", "Non-existent interface specified")
_PEM_NAME = re.compile(r"[\w-]+\.pem")
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
        if words and words[0] in haproxycfg.SECTIONS:
            section = words[0]
        if not (section == "global" and words and words[0] == "group"):
            kept.append(line)
    return "".join(kept)


def frontends(config: str) -> list[Frontend]:
    """The frontends of a haproxy configuration, in the order of the file.

    Raises:
        ParseError: it cannot be taken apart, see `haproxycfg.sections`.
    """
    return [_frontend(part) for part in haproxycfg.sections(config) if part.kind == "frontend"]


def _frontend(section: haproxycfg.Section) -> Frontend:
    modes = [line.words[1] for line in section.body if line.name == "mode" and len(line.words) > 1]
    binds = [line for line in section.body if line.name == "bind"]
    return Frontend(
        name=section.name,
        mode=modes[-1] if modes else "tcp",
        terminates_tls=any(not _CERTIFICATES.isdisjoint(bind.words) for bind in binds),
    )


def unused_certificates(config: str, directory: str, stored: Mapping[str, str]) -> set[str]:
    """Names of stored files that a haproxy configuration makes no use of.

    Whatever is named is in use, in the configuration or in a file in use, such as a list of
    certificates; where and how does not matter. All are, when the directory itself is named:
    controllers before Train let haproxy take every certificate in it.

    Args:
        directory: where the files are, without a slash at the end.
        stored: their texts, by name.
    """
    if re.search(rf"{re.escape(directory)}/?(?![\w/.-])", config):
        return set()
    unused = set(stored)
    texts = [config]
    while texts:
        used = unused.intersection(_PEM_NAME.findall(texts.pop()))
        unused -= used
        texts += [stored[name] for name in used]
    return unused


def program_version(output: str) -> str:
    """The version in what a program prints about itself, without a leading `v`.

    Raises:
        ParseError: there is none.
    """
    match = _VERSION.search(output)
    if match is None:
        raise ParseError("no version found", output[:200])
    return match[1]


def version_numbers(version: str) -> tuple[int, int]:
    """The first two numbers of a version as `program_version` finds it."""
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


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
            text = match["text"]
            is_advice = text.startswith("WARNING") or any(
                sign in text for sign in _KEEPALIVED_ADVICE
            )
            is_fault = not is_advice and text not in _KEEPALIVED_OF_OCTAVIA
        else:
            is_fault = any(sign in line for sign in _KEEPALIVED_FATAL)
        if is_fault:
            faults.append(line)
    return list(dict.fromkeys(faults))
