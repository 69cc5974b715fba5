# SPDX-License-Identifier: Apache-2.0
"""What every line of the log that a request causes is marked with."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from amphora_agent.system import journal

_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def marked(application: _Application) -> _Application:
    """The application, with fields around each call of it."""

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with journal.fields(
            REQUEST_ID=os.urandom(6).hex(),
            REQUEST=f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}",
            CLIENT=str(environ.get("REMOTE_ADDR", "")),
        ):
            return application(environ, start_response)

    return serve
