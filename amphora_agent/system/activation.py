# SPDX-License-Identifier: Apache-2.0
"""Serve on a socket that systemd listens on, in one process for each connection (sd_listen_fds(3)).

The process ends when nobody has come for a while, and systemd starts it again for the next
connection. What a connection needs of memory goes with its process.
"""

import os
import signal
import socket
from collections.abc import Callable, Mapping

from amphora_agent.errors import ConfigError

_FIRST_FD = 3


def passed_socket(environment: Mapping[str, str]) -> socket.socket:
    """The one socket that this process was started for.

    Raises:
        ConfigError: it was not started so.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()) or environment.get("LISTEN_FDS") != "1":
        raise ConfigError(
            "no socket was passed",
            "it is started by its socket unit; by hand: systemd-socket-activate -l PORT PROGRAM",
        )
    return socket.socket(fileno=_FIRST_FD)


def serve(
    listener: socket.socket,
    handle: Callable[[socket.socket], None],
    *,
    idle_s: float,
    most: int,
    deadline_s: int,
) -> None:
    """Have every connection handled, until none has come for a while.

    Args:
        handle: called in a process of the connection's own.
        most: how many are handled at once; more wait.
        deadline_s: after which one is broken off.
    """
    listener.settimeout(idle_s)
    children: set[int] = set()
    while True:
        children -= _ended(children)
        if len(children) >= most:
            children.discard(os.wait()[0])
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            break
        with connection:
            child = os.fork()
            if child == 0:
                _handle(connection, handle, deadline_s)
            children.add(child)
    for child in children:
        os.waitpid(child, 0)


def _handle(
    connection: socket.socket, handle: Callable[[socket.socket], None], deadline_s: int
) -> None:
    """To the end of this process."""
    signal.alarm(deadline_s)
    status = 1
    try:
        handle(connection)
        status = 0
    except Exception:  # noqa: BLE001  # top of this process
        import traceback  # noqa: PLC0415  # seldom needed

        traceback.print_exc()
    finally:
        # Whatever it was: a child never goes on with what is its parent's to do.
        os._exit(status)


def _ended(children: set[int]) -> set[int]:
    return {child for child in children if os.waitpid(child, os.WNOHANG)[0]}
