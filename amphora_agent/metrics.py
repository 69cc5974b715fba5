# SPDX-License-Identifier: Apache-2.0
"""The text format in which Prometheus takes metrics, version 0.0.4; pure.

Source: "Exposition formats" of the Prometheus documentation.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Kind(StrEnum):
    """What may be done with a metric's values."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A metric with all its samples.

    Attributes:
        labels: names; as many as each key of `samples` has values.
        samples: values by the labels' values.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    samples: Mapping[tuple[str, ...], float]


def exposition(families: Iterable[Family]) -> str:
    """All families as text; one without samples says only that it exists."""
    return "".join(line for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help.translate(_HELP_ESCAPES)}\n"
    yield f"# TYPE {family.name} {family.kind}\n"
    for values, number in sorted(family.samples.items()):
        pairs = zip(family.labels, values, strict=True)
        labels = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs)
        sample = f"{family.name}{{{labels}}}" if labels else family.name
        yield f"{sample} {_number(number)}\n"


def _number(value: float) -> str:
    # Counters are whole, and stay exact above what a shortest notation would round.
    return str(int(value)) if value == int(value) else repr(value)
