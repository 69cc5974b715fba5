# SPDX-License-Identifier: Apache-2.0
"""What every operation works with."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from amphora_agent.layout import NETNS
from amphora_agent.operations.counters import Counters
from amphora_agent.settings import Settings
from amphora_agent.system.announcer import Announcer
from amphora_agent.system.disk import Disk, LocalDisk
from amphora_agent.system.evidence import Evidence, ProgramEvidence
from amphora_agent.system.handshakes import Failures
from amphora_agent.system.haproxy import Haproxy
from amphora_agent.system.host import Host
from amphora_agent.system.keepalived import Keepalived
from amphora_agent.system.network import Network
from amphora_agent.system.nftables import Nftables
from amphora_agent.system.services import Services
from amphora_agent.system.settings_store import SettingsStore


class Locks:
    """One lock per resource, so that requests on one run in order and on others in parallel.

    In order means as they came, which threading.Lock alone does not promise. Of a resource that
    nobody waits for or holds nothing is kept.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # Whose turn it is comes first; everybody has a lock that is released to call them.
        self._queues: dict[str, deque[threading.Lock]] = {}

    @contextlib.contextmanager
    def hold(self, resource: str) -> Iterator[None]:
        """Wait for a resource and hold it."""
        turn = threading.Lock()
        with self._guard:
            queue = self._queues.setdefault(resource, deque())
            queue.append(turn)
            if queue[0] is not turn:
                turn.acquire()
        try:
            with turn:
                yield
        finally:
            with self._guard:
                was_first = queue[0] is turn
                queue.remove(turn)
                if not queue:
                    del self._queues[resource]
                elif was_first:
                    queue[0].release()


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The agent's settings, its hold on the machine, and what it remembers while it runs.

    Attributes:
        netns: name of the amphora's namespace.
    """

    store: SettingsStore
    services: Services
    haproxy: Haproxy
    keepalived: Keepalived
    network: Network
    nftables: Nftables
    announcer: Announcer
    host: Host
    evidence: Evidence = field(default_factory=lambda: ProgramEvidence(NETNS))
    netns: str = NETNS
    disk: Disk = field(default_factory=LocalDisk)
    locks: Locks = field(default_factory=Locks)
    counters: Counters = field(default_factory=Counters)
    handshakes: Failures = field(default_factory=lambda: Failures(time.monotonic))

    @property
    def settings(self) -> Settings:
        """The settings in force now; whoever needs two values that belong together asks once."""
        return self.store.current
