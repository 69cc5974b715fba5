# SPDX-License-Identifier: Apache-2.0
"""What haproxy refuses, told by the places in the document that it was rendered from.

haproxy names the line (`[/a/haproxy.cfg:23]`, HAProxy 2.4 to 3.2). Ids of the document are names in
the file, so that a line tells what it was made of. Whether a regular expression or a name of a
cipher is right only haproxy knows, with the libraries that it was built with.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from amphora_agent import haproxycfg
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.faults import Fault
from amphora_agent.balancer.listener import Listener, ListenerTls, Rule
from amphora_agent.balancer.pool import Pool, PoolTls
from amphora_agent.balancer.values import CertificateName
from amphora_agent.haproxycfg import Section

# Other messages begin with `[NOTICE]` or `[WARNING]`, and refuse nothing. More lines of a message
# are indented; lines that are not repeat it.
_MESSAGE = re.compile(r"^\[ALERT\] +\(\d+\) : (?:config : )?(.*(?:\n .*)*)", re.MULTILINE)
_PLACE = re.compile(r"(?: at |parsing )?\[([^][\n]+):(\d+)\](?: : )?")

# What haproxy calls a field.
_TLS_FIELDS = {"cipher": "ciphers", "SSL/TLS versions": "versions", "alpn": "alpn"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Origin:
    """What a line was made of.

    Attributes:
        path: of the part.
        values: paths of its values, by what stands in haproxy's words when one is meant.
    """

    path: str
    values: Mapping[str, str]

    def meant(self, words: str) -> str:
        """The path that some words are about."""
        return next((path for value, path in self.values.items() if value in words), self.path)


def faults(document: LoadBalancer, config: Path, text: str, words: str) -> tuple[Fault, ...]:
    """The places in a document that haproxy complains of.

    Args:
        config: the file as haproxy calls it.
        text: what is in the file.
        words: haproxy's.

    Returns:
        Each place once. None for complaints that name no line, or one that belongs to no part.
    """
    origins = dict(_origins(document, text))
    found: dict[str, str] = {}
    for line, reason in _complaints(config, words):
        if line in origins:
            found.setdefault(origins[line].meant(reason), reason)
    # What holds a part that is refused is refused because of it.
    return tuple(
        (path, reason)
        for path, reason in found.items()
        if not any(other.startswith(f"{path}.") for other in found)
    )


def _complaints(config: Path, words: str) -> Iterator[tuple[int, str]]:
    for message in _MESSAGE.findall(words):
        place = _PLACE.search(message)
        if place is not None and place[1] == str(config):
            reason = message[: place.start()] + message[place.end() :]
            yield int(place[2]), " ".join(reason.split()).rstrip(".")


def _origins(document: LoadBalancer, text: str) -> Iterator[tuple[int, _Origin]]:
    """By the number of a line, what it was made of."""
    listeners: dict[str, tuple[str, Listener]] = {
        listener.id: (f"listeners[{index}]", listener)
        for index, listener in enumerate(document.listeners)
    }
    pools: dict[str, tuple[str, Pool]] = {
        pool.id: (f"pools[{index}]", pool) for index, pool in enumerate(document.pools)
    }
    for section in haproxycfg.sections(text):
        owner = section.name.partition(":")[0]
        if section.kind == "frontend" and owner in listeners:
            yield from _of_listener(*listeners[owner], section)
        elif section.kind == "backend" and owner in pools:
            yield from _of_pool(*pools[owner], section)


def _of_listener(place: str, listener: Listener, section: Section) -> Iterator[tuple[int, _Origin]]:
    whole = _Origin(path=place, values=_tls(f"{place}.tls", listener.tls))
    rules: dict[str, tuple[str, str, Rule]] = dict(_rules(place, listener))
    for directive in section.body:
        named = [rules[word] for each in directive.words if (word := each.lstrip("!")) in rules]
        if not named:
            yield directive.line, whole
            continue
        policy, path, rule = named[0]
        if directive.name == "acl":
            yield directive.line, _Origin(path=path, values={rule.value: f"{path}.value"})
        else:
            yield directive.line, _Origin(path=policy, values={})


def _rules(place: str, listener: Listener) -> Iterator[tuple[str, tuple[str, str, Rule]]]:
    """By the id of a rule, its policy's path, its own, and the rule."""
    for number, policy in enumerate(listener.policies):
        path = f"{place}.policies[{number}]"
        for index, rule in enumerate(policy.rules):
            yield rule.id, (path, f"{path}.rules[{index}]", rule)


def _of_pool(place: str, pool: Pool, section: Section) -> Iterator[tuple[int, _Origin]]:
    values = _tls(f"{place}.tls", pool.tls)
    members: dict[str, int] = {member.id: index for index, member in enumerate(pool.members)}
    for directive in section.body:
        path = place
        if directive.name == "server":
            path = f"{place}.members[{members[directive.words[1]]}]"
        yield directive.line, _Origin(path=path, values=values)


def _tls(place: str, tls: ListenerTls | PoolTls | None) -> dict[str, str]:
    """Paths of the fields that are given, by what haproxy says of them."""
    if tls is None:
        return {}
    found = {
        words: f"{place}.{field}"
        for words, field in _TLS_FIELDS.items()
        if getattr(tls, field) is not None
    }
    named: dict[str, CertificateName | None]
    if isinstance(tls, ListenerTls):
        named = {f"certificates[{index}]": name for index, name in enumerate(tls.certificates)}
        named |= {"client_ca": tls.client_ca, "client_crl": tls.client_crl}
    else:
        named = {"certificate": tls.certificate, "ca": tls.ca, "crl": tls.crl}
    return {
        **{f"/{name}.pem": f"{place}.{field}" for field, name in named.items() if name is not None},
        **found,
    }
