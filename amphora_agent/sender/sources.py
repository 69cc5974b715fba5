# SPDX-License-Identifier: Apache-2.0
"""What there is to ask: load balancers of haproxy, and UDP and SCTP listeners."""

from pathlib import Path

from amphora_agent.layout import Layout, is_object_id
from amphora_agent.system.names import DirectoryNames

_LVS_PREFIX, _LVS_SUFFIX = "octavia-keepalivedlvs-", ".conf"


class Sources:
    """The directories with configurations, looked at every period."""

    def __init__(self, paths: Layout) -> None:
        self.paths = paths
        # Paths are made by Python, which takes longer than what they are for.
        self.counters = paths.stats_counters
        self.keepalived_config = paths.keepalived_config
        self._base = DirectoryNames(paths.base)
        self._lvs = DirectoryNames(paths.lvs_dir)
        self._base_names: frozenset[str] = frozenset()
        self._lvs_names: frozenset[str] = frozenset()
        self._configs: list[tuple[str, Path]] = []
        self._listeners: list[str] = []

    def load_balancers(self) -> list[str]:
        """Those with a haproxy configuration, in the order of their ids.

        Raises:
            OSError: they cannot be listed.
        """
        try:
            names = self._base.read()
        except FileNotFoundError:
            return []
        if names is not self._base_names:
            self._base_names = names
            self._configs = [
                (name, self.paths.haproxy_config(name))
                for name in sorted(names)
                if is_object_id(name)
            ]
        return [name for name, config in self._configs if config.is_file()]

    def listeners(self) -> list[str]:
        """UDP and SCTP listeners with a configuration, in the order of their ids.

        Raises:
            OSError: they cannot be listed.
        """
        try:
            names = self._lvs.read()
        except FileNotFoundError:
            return []
        if names is not self._lvs_names:
            self._lvs_names = names
            ids = [
                name[len(_LVS_PREFIX) : -len(_LVS_SUFFIX)]
                for name in names
                if name.startswith(_LVS_PREFIX) and name.endswith(_LVS_SUFFIX)
            ]
            self._listeners = sorted(name for name in ids if is_object_id(name))
        return self._listeners
