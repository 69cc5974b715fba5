# SPDX-License-Identifier: Apache-2.0
"""The file by which Octavia has rsyslog send logs away, made to work; pure.

Octavia renders /etc/rsyslog.d/10-rsyslog.conf from its options tenant_log_targets,
admin_log_targets and so on. Some of what it renders cannot work. Where only one reading makes
sense it is repaired; anything else is rsyslog's to judge.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

from amphora_agent.entities import unescape

# With admin targets, without forward_all_logs and with disable_local_log_storage, the last two
# statements share a line. A name of a ruleset cannot go on with an asterisk.
_GLUED = re.compile(r"(\bcall[ \t]+[A-Za-z_]\w*)(?=\*)")

# rsyslog resolves the name in quotes as it is; brackets are for its older notation.
_BRACKETS = re.compile(r'(\btarget\s*=\s*")\[([^\[\]"]*)\](")', re.IGNORECASE)

_RULESET = re.compile(r"(\bruleset\s*\()([^()]*)(\))", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Repaired:
    """What rsyslog is given.

    Attributes:
        repairs: what was changed and why, a line each.
    """

    text: str
    repairs: tuple[str, ...]


def repaired(text: str) -> Repaired:
    """The controller's file in a form that works."""
    repairs = []
    for repair, what in (
        (unescape, "HTML entities are characters again"),
        (_unglued, "two statements on one line stand on two"),
        (
            _without_brackets,
            "IPv6 targets have no brackets, which rsyslog would look up",
        ),
        (_without_waiting, "a full queue does not hold up local logs while targets are down"),
    ):
        changed = repair(text)
        if changed != text:
            text = changed
            repairs.append(what)
    return Repaired(text=text, repairs=tuple(repairs))


def _unglued(text: str) -> str:
    return _GLUED.sub(r"\1\n", text)


def _without_brackets(text: str) -> str:
    def bare(found: re.Match[str]) -> str:
        try:
            IPv6Address(found[2])
        except AddressValueError:
            return found[0]
        return f"{found[1]}{found[2]}{found[3]}"

    return _BRACKETS.sub(bare, text)


def _without_waiting(text: str) -> str:
    """A ruleset with a queue of its own that is full drops messages at once.

    rsyslog's default is to wait two seconds for each, and nothing else is logged meanwhile: with
    TCP targets that are down, local logs stop for good when the queue has filled up.
    """

    def impatient(found: re.Match[str]) -> str:
        options = found[2].lower()
        if "queue.type" not in options or "queue.timeoutenqueue" in options:
            return found[0]
        return f'{found[1]}{found[2]} queue.timeoutEnqueue="0"{found[3]}'

    return _RULESET.sub(impatient, text)
