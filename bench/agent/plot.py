# SPDX-License-Identifier: Apache-2.0
"""The ratios as bars, in SVG; pure."""

from collections.abc import Sequence
from html import escape

from bench.agent.report import Line

_BAR = 420
_LEFT = 260
_ROW = 26
_RIGHT = 190


def ratios(lines: Sequence[Line]) -> str:
    """One bar for each line: this agent in parts of upstream, whose own length is the grey one."""
    width, height = _LEFT + _BAR + _RIGHT, _ROW * (len(lines) + 1) + 12
    rows = "".join(_row(number, line) for number, line in enumerate(lines, start=1))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="13">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        f'<text x="{_LEFT}" y="18">this agent (blue) in parts of upstream (grey);'
        " red: target</text>\n"
        f"{rows}</svg>\n"
    )


def _row(number: int, line: Line) -> str:
    top = number * _ROW
    length = _BAR * min(line.value, 1.3)
    figures = f"{line.value:.2f}  ({line.ours:.3g} / {line.upstream:.3g} {line.unit})"
    target = ""
    if line.target is not None:
        at = _LEFT + _BAR * line.target
        target = f'<rect x="{at:.1f}" y="{top - 2}" width="2" height="20" fill="#c00"/>\n'
    return (
        f'<text x="{_LEFT - 8}" y="{top + 13}" text-anchor="end">{escape(line.name)}</text>\n'
        f'<rect x="{_LEFT}" y="{top}" width="{_BAR}" height="16" fill="#ddd"/>\n'
        f'<rect x="{_LEFT}" y="{top + 3}" width="{length:.1f}" height="10" fill="#2a6fb0"/>\n'
        f"{target}"
        f'<text x="{_LEFT + max(_BAR, length) + 8:.1f}" y="{top + 13}">{escape(figures)}</text>\n'
    )
