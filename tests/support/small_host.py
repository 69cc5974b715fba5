# SPDX-License-Identifier: Apache-2.0
"""A machine of the size of an amphora, for agents that run inside the process of a test.

haproxy's cache of TLS sessions is sized by the memory that the machine has: of a large one a test
would take gigabytes.
"""

import dataclasses
from typing import Any, cast

from amphora_agent.operations.context import Context
from amphora_agent.system.host import Host, Memory

_FREE_KB = 64 * 1024


class _SmallHost:
    def __init__(self, host: Host) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def memory(self) -> Memory:
        """See amphora_agent.system.host.Host."""
        return dataclasses.replace(self._host.memory(), free=_FREE_KB, buffers=0, cached=0)


def small(context: Context) -> Context:
    """The same context on a small machine."""
    return dataclasses.replace(context, host=cast(Host, _SmallHost(context.host)))
