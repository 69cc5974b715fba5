# SPDX-License-Identifier: Apache-2.0
"""gunicorn, with one worker process that is watched by a small parent.

The application is loaded by the worker alone: what it imports is not in the parent's memory.
"""

import gc
import signal
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from amphora_agent.server_worker import Transport

WsgiApplication = Callable[..., Any]

# systemd waits ten seconds (TimeoutStopSec of the unit) and then kills without mercy.
_GRACE_S = 8


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """The API's server.

    Args:
        load: makes the application, in the worker process.
        transport: what the worker needs besides.
        bind: address and port in gunicorn's notation.
        options: more of gunicorn's settings.
    """

    def __init__(
        self, load: Callable[[], WsgiApplication], transport: Transport, bind: str, **options: Any
    ) -> None:
        self.transport = transport
        self._load = load
        self._options = {
            "bind": bind,
            # One process, so that one lock per resource is enough.
            "workers": 1,
            "worker_class": "amphora_agent.server_worker.Worker",
            "graceful_timeout": _GRACE_S,
            "proc_name": "amphora-agent",
            "pre_fork": _share_memory,
            **options,
        }
        super().__init__()

    def load_config(self) -> None:
        """See gunicorn."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> WsgiApplication:
        """See gunicorn."""
        return self._load()

    def run(self) -> None:
        """Serve until a signal ends it; does not return."""
        _Arbiter(self).run()


class _Arbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    def handle_hup(self) -> None:
        """Hand the signal on; a second worker beside the first would not know its locks."""
        self.kill_workers(signal.SIGHUP)


def _share_memory(_arbiter: Any, _worker: Any) -> None:
    """Let both processes share what is in memory now: collecting garbage would write to it."""
    gc.collect()
    gc.freeze()
