# SPDX-License-Identifier: Apache-2.0
"""haproxy's metrics in Octavia's names.

A listener of protocol PROMETHEUS serves what stands here: the metrics of haproxy's own exporter
(HAProxy source, addons/promex/README), under the names and with the labels that Octavia's guide
"Monitoring Load Balancers" promises. Metrics without such a name are left out.

Pure, and of the standard library only: it is imported by a program that is started for a scrape.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from amphora_agent.errors import ParseError

# haproxy's longest line is some hundred bytes long.
_LINE_MAX_BYTES = 64 * 1024

# Frontends and backends whose names begin so are Octavia's own plumbing.
_INTERNAL = b"prometheus-exporter"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scope:
    """What haproxy has one set of metrics for.

    Attributes:
        old, new: beginnings of the names.
        labels: beginnings of labels, haproxy's and ours.
        names: what follows `old`.
        renamed: what follows `new` where it is not the same.
    """

    old: str
    new: str
    names: str
    labels: tuple[tuple[bytes, bytes], ...] = ()
    renamed: Mapping[str, str]

    def rules(self) -> Iterator["Rule"]:
        for name in self.names.split():
            new = self.renamed.get(name, f"{self.new}_{name}")
            yield Rule(old=f"{self.old}_{name}".encode(), new=new.encode(), labels=self.labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """How one metric is translated.

    Attributes:
        old, new: its names.
        labels: see _Scope.
    """

    old: bytes
    new: bytes
    labels: tuple[tuple[bytes, bytes], ...]


_PROCESS = _Scope(
    old="haproxy_process",
    new="octavia_loadbalancer",
    names="""
        pool_allocated_bytes pool_used_bytes pool_failures_total
        max_connections current_connections connections_total requests_total
        max_ssl_connections current_ssl_connections ssl_connections_total
        current_connection_rate limit_connection_rate max_connection_rate
        current_session_rate limit_session_rate max_session_rate
        current_ssl_rate limit_ssl_rate max_ssl_rate
        current_frontend_ssl_key_rate max_frontend_ssl_key_rate frontend_ssl_reuse
        current_backend_ssl_key_rate max_backend_ssl_key_rate
        ssl_cache_lookups_total ssl_cache_misses_total
        http_comp_bytes_in_total http_comp_bytes_out_total limit_http_comp
        listeners dropped_logs_total
    """,
    renamed={
        "pool_allocated_bytes": "octavia_memory_pool_allocated_bytes",
        "pool_used_bytes": "octavia_memory_pool_used_bytes",
        "pool_failures_total": "octavia_memory_pool_failures_total",
    },
)

_FRONTEND = _Scope(
    old="haproxy_frontend",
    new="octavia_listener",
    labels=((b"{proxy=", b"{listener="),),
    names="""
        status current_sessions max_sessions limit_sessions sessions_total
        limit_session_rate max_session_rate connections_rate_max connections_total
        bytes_in_total bytes_out_total requests_denied_total responses_denied_total
        request_errors_total denied_connections_total denied_sessions_total
        failed_header_rewriting_total http_requests_rate_max http_requests_total
        http_responses_total intercepted_requests_total
        http_cache_lookups_total http_cache_hits_total
        http_comp_bytes_in_total http_comp_bytes_out_total http_comp_bytes_bypassed_total
        http_comp_responses_total
    """,
    renamed={},
)

_BACKEND = _Scope(
    old="haproxy_backend",
    new="octavia_pool",
    labels=((b"{proxy=", b"{pool="),),
    names="""
        status current_sessions max_sessions limit_sessions sessions_total max_session_rate
        last_session_seconds current_queue max_queue
        connection_attempts_total connection_reuses_total bytes_in_total bytes_out_total
        queue_time_average_seconds connect_time_average_seconds
        response_time_average_seconds total_time_average_seconds
        max_queue_time_seconds max_connect_time_seconds
        max_response_time_seconds max_total_time_seconds
        requests_denied_total responses_denied_total connection_errors_total
        response_errors_total retry_warnings_total redispatch_warnings_total
        failed_header_rewriting_total client_aborts_total server_aborts_total
        active_servers backup_servers check_up_down_total check_last_change_seconds
        downtime_seconds_total loadbalanced_total http_requests_total http_responses_total
        http_cache_lookups_total http_cache_hits_total
        http_comp_bytes_in_total http_comp_bytes_out_total http_comp_bytes_bypassed_total
        http_comp_responses_total
    """,
    renamed={
        "server_aborts_total": "octavia_pool_member_aborts_total",
        "active_servers": "octavia_pool_active_members",
        "backup_servers": "octavia_pool_backup_members",
    },
)

_SERVER = _Scope(
    old="haproxy_server",
    new="octavia_member",
    labels=((b"{proxy=", b"{pool="), (b'",server="', b'",member="')),
    names="""
        status current_sessions max_sessions limit_sessions sessions_total max_session_rate
        last_session_seconds current_queue max_queue queue_limit bytes_in_total bytes_out_total
        queue_time_average_seconds connect_time_average_seconds
        response_time_average_seconds total_time_average_seconds
        max_queue_time_seconds max_connect_time_seconds
        max_response_time_seconds max_total_time_seconds
        connection_attempts_total connection_reuses_total responses_denied_total
        connection_errors_total response_errors_total
        retry_warnings_total redispatch_warnings_total failed_header_rewriting_total
        client_aborts_total server_aborts_total weight check_failures_total check_up_down_total
        downtime_seconds_total check_last_change_seconds current_throttle loadbalanced_total
        http_responses_total idle_connections_current idle_connections_limit
    """,
    renamed={},
)

# By haproxy's names.
RULES: Mapping[bytes, Rule] = {
    rule.old: rule for scope in (_PROCESS, _FRONTEND, _BACKEND, _SERVER) for rule in scope.rules()
}

# haproxy's words in its HELP texts; where both stand side by side, once is enough.
_WORDS = {
    b"listener/frontend": b"listener",
    b"frontend/listener": b"listener",
    b"frontend": b"listener",
    b"backend": b"pool",
    b"server": b"member",
}
_WORD = re.compile(b"|".join(_WORDS), re.IGNORECASE)


def translate(
    pieces: Iterable[bytes], more: Mapping[bytes, bytes] | None = None
) -> Iterator[bytes]:
    """Metrics in Octavia's names, as haproxy's come in.

    haproxy writes one metric after the other, each with a HELP line, a TYPE line, and then all its
    samples. What lies between two HELP lines is translated as a whole: by lines, the some 400,000
    of a load balancer with 10,000 members would take ten times as long.

    Args:
        pieces: the exposition, cut anywhere.
        more: lines to stand with the samples of a metric, by its name of Octavia: all of a metric
            has to stand together.

    Raises:
        ParseError: a line has no end.
    """
    rule: Rule | None = None
    rest = b""
    for piece in pieces:
        text = rest + piece
        end = text.rfind(b"\n") + 1
        rest = text[end:]
        if len(rest) > _LINE_MAX_BYTES:
            raise ParseError("haproxy's metrics are not lines of text", f"{rest[:80]!r}…")
        rule, translated = _lines(rule, text[:end], more or {})
        yield translated
    if rest:
        rule, translated = _lines(rule, rest + b"\n", more or {})
        yield translated
    yield _more(rule, more or {})


def _more(rule: Rule | None, more: Mapping[bytes, bytes]) -> bytes:
    return more.get(rule.new, b"") if rule else b""


def _lines(
    rule: Rule | None, lines: bytes, more: Mapping[bytes, bytes]
) -> tuple[Rule | None, bytes]:
    """Whole lines, the first of which belong to `rule`; and the rule of the last ones."""
    samples, *families = (b"\n" + lines).split(b"\n# HELP ")
    translated = []
    if rule and samples:
        translated.append(_samples(rule, samples))
    for family in families:
        if added := _more(rule, more):
            translated.append(b"\n" + added.rstrip(b"\n"))
        head, _, samples = family.partition(b"\n")
        name, _, text = head.partition(b" ")
        rule = RULES.get(name)
        if rule:
            translated.append(b"\n# HELP " + rule.new + b" " + _reworded(text))
            translated.append(_samples(rule, b"\n" + samples))
    whole = b"".join(translated).strip(b"\n")
    return rule, whole + b"\n" if whole else b""


def _samples(rule: Rule, lines: bytes) -> bytes:
    """The lines of one metric after HELP.

    Args:
        lines: each begins with a line feed.
    """
    lines = lines.replace(b"\n# TYPE " + rule.old + b" ", b"\n# TYPE " + rule.new + b" ")
    if not rule.labels:
        return _kept(rule, lines.replace(b"\n" + rule.old + b" ", b"\n" + rule.new + b" "))
    (first, ours), *more = rule.labels
    lines = lines.replace(b"\n" + rule.old + first, b"\n" + rule.new + ours)
    # No label's value can hold these, as a quotation mark in one is escaped.
    for label, ours in more:
        lines = lines.replace(label, ours)
    return _kept(rule, lines)


def _kept(rule: Rule, lines: bytes) -> bytes:
    if _INTERNAL not in lines and b"\nhaproxy_" not in lines:
        return lines
    beginnings = (rule.new, b"# TYPE " + rule.new)
    kept = (
        line for line in lines.split(b"\n") if line.startswith(beginnings) and _INTERNAL not in line
    )
    return b"".join(b"\n" + line for line in kept)


def _reworded(text: bytes) -> bytes:
    def word(found: re.Match[bytes]) -> bytes:
        ours = _WORDS[found[0].lower()]
        return ours.capitalize() if found[0][:1].isupper() else ours

    return _WORD.sub(word, text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the virtual machine is busy with.

    Attributes:
        load: processes that want to run, on average over a minute.
        memory_total_kb, memory_available_kb: MemTotal and MemAvailable of proc(5).
    """

    load: float
    cpus: int
    memory_total_kb: int
    memory_available_kb: int


def machine(state: Machine) -> bytes:
    """The two metrics of Octavia that haproxy does not have, in percent."""
    used_kb = state.memory_total_kb - state.memory_available_kb
    cpu = 100 * state.load / max(1, state.cpus)
    memory = 100 * used_kb / max(1, state.memory_total_kb)
    return (
        "# HELP octavia_loadbalancer_cpu Load of the load balancer's CPUs, in percent.\n"
        "# TYPE octavia_loadbalancer_cpu gauge\n"
        f"octavia_loadbalancer_cpu {cpu:.1f}\n"
        "# HELP octavia_loadbalancer_memory Memory that is in use, in percent.\n"
        "# TYPE octavia_loadbalancer_memory gauge\n"
        f"octavia_loadbalancer_memory {memory:.1f}\n"
    ).encode()
