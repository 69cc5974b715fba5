# SPDX-License-Identifier: Apache-2.0
"""Requests that come again while the first still runs, as controllers send them after a minute."""

import contextlib
import threading
from collections import Counter
from collections.abc import Hashable, Iterator


class Running:
    """Counts the requests that run, by what they ask for."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counts: Counter[Hashable] = Counter()

    @contextlib.contextmanager
    def enter(self, request: Hashable) -> Iterator[bool]:
        """Count a request as long as the block lasts; yields whether the same one runs already."""
        with self._guard:
            repeated = self._counts[request] > 0
            self._counts[request] += 1
        try:
            yield repeated
        finally:
            with self._guard:
                self._counts[request] -= 1
                if not self._counts[request]:
                    del self._counts[request]
