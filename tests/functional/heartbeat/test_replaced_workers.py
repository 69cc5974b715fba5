# SPDX-License-Identifier: Apache-2.0
"""What a worker counted that a reload has replaced, also when it does not answer meanwhile."""

import socket
from contextlib import ExitStack

from tests.support import waiting
from tests.support.heartbeat_haproxy import Haproxy, StartHaproxy, hung
from tests.support.heartbeat_lab import DEADLINE_S, Amphora, Opener
from tests.support.heartbeat_load import Sums, Told
from tests.support.heartbeats import Listener


class OpenConnection:
    """One connection through a listener, whose bytes haproxy counts when it ends."""

    def __init__(self, haproxy: Haproxy, member: socket.socket, size: int) -> None:
        self.traffic = Sums(rx=size, tx=size // 2, count=1)
        self._client = socket.create_connection(("127.0.0.1", haproxy.port), timeout=DEADLINE_S)
        self._served, _ = member.accept()
        self._client.sendall(b"x" * size)
        assert len(self._served.recv(size, socket.MSG_WAITALL)) == size
        self._served.sendall(b"y" * (size // 2))
        assert len(self._client.recv(size, socket.MSG_WAITALL)) == size // 2

    def close(self) -> None:
        """End it on both sides."""
        self._client.close()
        self._served.close()


def test_hung_worker_that_is_replaced_is_read_when_it_goes_on(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """Bytes that only a hung worker counts, and that is replaced meanwhile, are told exactly."""
    heard, entry = manager
    with socket.create_server(("127.0.0.1", 0)) as member, ExitStack() as stack:
        member.settimeout(DEADLINE_S)
        haproxy = start_haproxy(1, tcp_member=member.getsockname()[1])
        amphora.configure([entry], interval="0.4")
        amphora.start()
        told = Told(heard, octavia)
        told.wait(2)
        old = haproxy.await_worker()
        first = OpenConnection(haproxy, member, 1234)
        stack.callback(first.close)
        with hung(old):
            first.close()
            # Whoever gives up does so with the old worker alone, or beside the new one.
            told.wait(2)
            haproxy.replace_worker(old)
            told.wait(3)
            # The control: none of its bytes has been told by now.
            assert (told.of(haproxy).rx, told.of(haproxy).tx) == (0, 0)
        told.wait(3)
        second = OpenConnection(haproxy, member, 500)
        second.close()
        told.wait(3)
        assert told.of(haproxy) == first.traffic + second.traffic


def test_last_traffic_of_a_replaced_worker_is_reported(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """Requests that came after the last look and before a reload are reported all the same."""
    listener, entry = manager
    haproxy = start_haproxy(1)
    told = Told(listener, octavia)
    amphora.configure([entry], interval="1")
    amphora.start()
    for _ in range(3):
        listener.next(deadline_s=DEADLINE_S)
        haproxy.serve(4)
        haproxy.reload()
        haproxy.serve(1)
    told.await_sessions(haproxy, 15)
    amphora.beats(2)
    assert told.of(haproxy).count == 15


def test_long_connection_of_an_old_worker_is_reported(
    amphora: Amphora,
    manager: tuple[Listener, str],
    octavia: Opener,
    start_haproxy: StartHaproxy,
) -> None:
    """Bytes that pass through an old worker long after the reload count, and so does its client."""
    listener, entry = manager
    with socket.create_server(("127.0.0.1", 0)) as member, ExitStack() as stack:
        haproxy = start_haproxy(1, tcp_member=member.getsockname()[1])
        amphora.configure([entry], interval="0.5")
        amphora.start()
        client = stack.enter_context(socket.create_connection(("127.0.0.1", haproxy.port)))
        served, _ = member.accept()
        stack.enter_context(served)
        for _ in range(2):
            amphora.beats(1)
            haproxy.replace_worker()
        amphora.beats(2)
        seen = len(listener.received())
        client.sendall(b"x" * 1234)
        assert len(served.recv(1234, socket.MSG_WAITALL)) == 1234

        def told() -> list[tuple[int, int]]:
            entries = [
                octavia.message(item.payload)["listeners"][haproxy.listener]["stats"]
                for item in listener.received()[seen:]
            ]
            return [(row["conns"], row["rx"]) for row in entries]

        amphora.beats(2)
        assert told()
        assert set(told()) == {(1, 0)}
        # haproxy counts the bytes of a connection at its end, and the old worker ends with it.
        client.close()
        served.close()
        waiting.until(
            "the bytes",
            lambda: told()[-1] == (0, 0) or None,
            deadline_s=DEADLINE_S,
            every_s=0.1,
        )
        assert sum(rx for _conns, rx in told()) == 1234
