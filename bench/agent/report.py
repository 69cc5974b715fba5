# SPDX-License-Identifier: Apache-2.0
"""Figures of many rounds into a table; pure."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Round = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        target: largest ratio (or, for a difference, milliseconds) aimed at; None without one.
        reached: whether `value` is within it.
    """

    name: str
    ours: float
    upstream: float
    unit: str
    value: float
    target: float | None

    @property
    def reached(self) -> str:
        """In words."""
        if self.target is None:
            return ""
        return f"≤ {self.target:g}: {'yes' if self.value <= self.target else 'NO'}"


def lines(ours: Sequence[Round], upstream: Sequence[Round]) -> list[Line]:
    """Every line of the table, from the rounds of both agents."""

    def line(
        name: str, figure: Callable[[Sequence[Round]], float], unit: str, target: float | None
    ) -> Line:
        a, b = figure(ours), figure(upstream)
        return Line(name=name, ours=a, upstream=b, unit=unit, value=a / b, target=target)

    made = [
        line("start to first mutual-TLS 200", _median("start_s", 1000), "ms", 0.35),
        line("PSS of all processes", _median("pss_bytes", 2**-20), "MiB", 0.35),
        line("PSS of all processes, in use", _median("pss_in_use_bytes", 2**-20), "MiB", None),
        line("processes", _median("processes", 1), "", None),
        line("GET info, new connection, p50", _quantile("info_new_s", 50), "ms", 0.5),
        line("GET info, new connection, p99", _quantile("info_new_s", 99), "ms", None),
        line("GET info, kept connection, p50", _quantile("info_kept_s", 50), "ms", 0.5),
        line("GET info, kept connection, p99", _quantile("info_kept_s", 99), "ms", None),
    ]
    for listeners in sorted(ours[0]["upload_s"], key=int):
        made.append(line(f"upload, listeners: {listeners}", _upload(listeners), "ms", None))
    return made


def beyond_check(rounds: Sequence[Round], listeners: str) -> tuple[float, float]:
    """Medians in milliseconds: plain `haproxy -c`, and what an upload takes beyond the one
    that ran just before it.
    """  # noqa: D205
    plain = [taken for found in rounds for taken in found["haproxy_check_s"][listeners]]
    uploads = [taken for found in rounds for taken in found["upload_s"][listeners]]
    beyond = [upload - check for upload, check in zip(uploads, plain, strict=True)]
    return statistics.median(plain) * 1000, statistics.median(beyond) * 1000


def markdown(ours: Sequence[Round], upstream: Sequence[Round]) -> str:
    """The tables."""
    text = "| what | this agent | upstream | ratio | target |\n| --- | --- | --- | --- | --- |\n"
    for line in lines(ours, upstream):
        unit = f" {line.unit}" if line.unit else ""
        text += (
            f"| {line.name} | {line.ours:.4g}{unit} | {line.upstream:.4g}{unit}"
            f" | {line.value:.2f} | {line.reached} |\n"
        )
    text += (
        "\n| listeners | plain `haproxy -c` | this agent beyond it | upstream beyond it | target"
        " |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    for listeners in sorted(ours[0]["upload_s"], key=int):
        plain, beyond = beyond_check(ours, listeners)
        _, other = beyond_check(upstream, listeners)
        target = ""
        if listeners == "1000":
            target = f"≤ 50 ms: {'yes' if beyond <= 50 else 'NO'}"
        text += f"| {listeners} | {plain:.1f} ms | {beyond:.1f} ms | {other:.1f} ms | {target} |\n"
    return text


def _median(key: str, factor: float) -> Callable[[Sequence[Round]], float]:
    return lambda rounds: statistics.median(float(found[key]) for found in rounds) * factor


def _quantile(key: str, percent: int) -> Callable[[Sequence[Round]], float]:
    """Of all requests of all rounds, in milliseconds."""

    def quantile(rounds: Sequence[Round]) -> float:
        taken = [seconds for found in rounds for seconds in found[key]]
        return float(statistics.quantiles(taken, n=100, method="inclusive")[percent - 1]) * 1000

    return quantile


def _upload(listeners: str) -> Callable[[Sequence[Round]], float]:
    def upload(rounds: Sequence[Round]) -> float:
        taken: list[float] = [value for found in rounds for value in found["upload_s"][listeners]]
        return statistics.median(taken) * 1000

    return upload
