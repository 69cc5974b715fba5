# SPDX-License-Identifier: Apache-2.0
"""Figures that the image test takes: printed at the end of the run, never asserted."""

import datetime
import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

FILE_VARIABLE = "AMPHORA_MEASUREMENTS"


@dataclass(kw_only=True, slots=True)
class Measurements:
    """Figures in the order in which they were taken, each with its unit in its name."""

    accelerator: str = "unknown"
    figures: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """Keep a figure."""
        self.figures[name] = round(value, 2)

    def table(self) -> list[str]:
        """Lines of a table for people."""
        width = max(len(name) for name in self.figures)
        return [f"{name:<{width}}  {value:>10g}" for name, value in self.figures.items()]

    def write(self, path: Path) -> None:
        """Write figures, date and machine as JSON."""
        document = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": {
                "accelerator": self.accelerator,
                "cpus": os.cpu_count(),
                "kernel": platform.release(),
                "processor": _processor(Path("/proc/cpuinfo").read_text()),
            },
            "figures": self.figures,
        }
        path.write_text(json.dumps(document, indent=2) + "\n")


def _processor(cpuinfo: str) -> str:
    """The model name in /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
