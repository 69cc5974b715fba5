# SPDX-License-Identifier: Apache-2.0
"""How busy the machine is, for programs for which psutil is too large."""

import os
from pathlib import Path

from amphora_agent.prometheus import Machine

_MEMINFO = Path("/proc/meminfo")


def machine() -> Machine:
    """Load and memory now; 0 kB for what the kernel does not tell."""
    pairs = (line.partition(":") for line in _MEMINFO.read_text().splitlines())
    sizes_kb = {name: int(value.split()[0]) for name, _, value in pairs}
    return Machine(
        load=os.getloadavg()[0],
        cpus=os.cpu_count() or 1,
        memory_total_kb=sizes_kb.get("MemTotal", 0),
        memory_available_kb=sizes_kb.get("MemAvailable", 0),
    )
