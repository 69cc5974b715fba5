# SPDX-License-Identifier: Apache-2.0
"""gunicorn, in one process.

What gunicorn's parent process is for, to start the worker anew when it died or hangs, systemd does
as well, and without 13 MiB for it: the unit restarts the agent whatever its end was, and watches
that the loop of the worker turns.
"""

import gc
import os
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
        load: makes the application.
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
            # Whoever connects is answered, and systemd is told of a service that is up.
            "preload_app": True,
            "proc_name": "amphora-agent",
            **options,
        }
        super().__init__()

    def load_config(self) -> None:
        """See gunicorn."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> WsgiApplication:
        """See gunicorn."""
        application = self._load()
        # Nothing that is there now will ever be garbage.
        gc.collect()
        gc.freeze()
        return application

    def run(self) -> None:
        """Serve until a signal ends it."""
        _Arbiter(self).run()


class _Arbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """Opens the sockets, as ever, and is the worker itself."""

    def init_signals(self) -> None:
        """Leave the signals to the worker."""

    def run(self) -> None:
        """See Server.run."""
        self.start()
        worker = self.worker_class(
            0, os.getppid(), self.LISTENERS, self.app, self.timeout, self.cfg, self.log
        )
        worker.pid = os.getpid()
        worker.init_process()
