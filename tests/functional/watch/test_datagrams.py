# SPDX-License-Identifier: Apache-2.0
"""`amphoractl watch` as a process: what comes in by UDP, genuine or not, on loopback."""

import itertools
import random
import socket
from pathlib import Path

from tests.functional.conftest import Place
from tests.support import waiting, watched
from tests.support.heartbeat_lab import REFUSED
from tests.support.watched import AMPHORA, LISTENER, MEMBERS, datagram
from tests.support.watching import DEADLINE_S, Amphora, watching


def test_watch_counts_bad_datagrams_and_goes_on(
    tmp_path: Path, port: int, amphora: Amphora
) -> None:
    """Forged, cut, huge, future and random datagrams are named, and the next heartbeat is heard."""
    genuine = datagram("UP")
    bomb = watched.signed(watched.message("UP") | {"pad": " " * 9_000_000})
    future = watched.signed(watched.message("UP") | {"ver": 99})
    with watching(tmp_path, "--listen", f"127.0.0.1:{port}") as watch:
        watch.await_ear(port)
        noise = random.Random(7)
        for payload in (
            *(datagram("DOWN", key="another"), datagram("DOWN", key="yet another")),
            *(genuine[:-10], genuine[:60], bomb, future, b"", b"\x00" * 65_507),
            *(noise.randbytes(noise.randrange(1, 2000)) for _ in range(50)),
        ):
            amphora.send(payload)
        amphora.beat("UP", "DOWN")
        watch.await_text(f"member {MEMBERS[1]}: not there -> ERROR")
        for words in ("wrong key, or forged", "cut short", "too large", "unknown version"):
            watch.await_text(f"refused: {words} (the last from 127.0.0.1)")
        assert f"amphora {AMPHORA} (127.0.0.1): not there -> ALIVE" in watch.text()
        assert watch.end() == 0


def test_watch_tells_silence_and_its_end(tmp_path: Path, port: int, amphora: Amphora) -> None:
    """An amphora that stops is silent after the time that was asked for, and back with a beat."""
    with watching(
        *(tmp_path, "--listen", f"127.0.0.1:{port}", "--json", "--silent-after", "1")
    ) as watch:
        watch.await_ear(port)
        amphora.beat("UP")
        watch.await_row(kind="amphora", before=None, after="ALIVE")
        watch.await_row(kind="amphora", before="ALIVE", after="SILENT")
        amphora.beat("UP")
        back = watch.await_row(kind="amphora", before="SILENT", after="ALIVE")
        assert (back["amphora_id"], back["address"]) == (AMPHORA, "127.0.0.1")
        watched.assert_unbroken(watch.rows(), {LISTENER: "ONLINE"})


def test_captured_heartbeat_that_is_sent_again_hides_no_silence(
    tmp_path: Path, port: int, amphora: Amphora
) -> None:
    """While the last heartbeat comes again and again, the amphora falls silent all the same."""
    options = ("--listen", f"127.0.0.1:{port}", "--json", "--silent-after", "1")
    with watching(tmp_path, *options) as watch:
        watch.await_ear(port)
        captured = datagram("UP", sequence=7)

        def is_silent() -> bool | None:
            amphora.send(captured)
            return any(row["after"] == "SILENT" for row in watch.rows()) or None

        waiting.until("silence", is_silent, deadline_s=DEADLINE_S, every_s=0.1)
        assert "heartbeats came once more (the last from 127.0.0.1)" in watch.complaints()
        assert [row["after"] for row in watch.rows()] == ["ALIVE", "SILENT"]


def test_watch_hands_on_each_datagram_as_it_came(
    tmp_path: Path, port: int, amphora: Amphora
) -> None:
    """With --forward the health manager gets every byte, of bad datagrams too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as manager:
        manager.bind(("127.0.0.1", 0))
        manager.settimeout(DEADLINE_S)
        target = f"127.0.0.1:{manager.getsockname()[1]}"
        with watching(
            tmp_path, "--listen", f"127.0.0.1:{port}", "--forward", target, "--json"
        ) as watch:
            watch.await_ear(port)
            for payload in (datagram("UP"), b"garbage", datagram("DOWN")):
                amphora.send(payload)
                assert manager.recv(65_536) == payload
            watch.await_row(kind="member", after="ERROR")


def test_what_cannot_be_handed_on_is_said(tmp_path: Path, port: int, amphora: Amphora) -> None:
    """A health manager that the kernel sends nothing to shows: Octavia hears nothing any more."""
    options = ("--listen", f"127.0.0.1:{port}", "--forward", REFUSED)
    with watching(tmp_path, *options) as watch:
        watch.await_ear(port)
        amphora.beat("UP")
        watch.await_text("1 heartbeats were not handed on to Octavia: nothing can be sent to")
        watch.await_text(f"amphora {AMPHORA} (127.0.0.1): not there -> ALIVE")


def test_watch_asks_for_certificates(tmp_path: Path, agent: Place) -> None:
    """The real agent's certificate has 29 days left, and the watch says so."""
    for name, source in (
        ("server_ca-chain.cert.pem", agent.pki.server_chain),
        ("client.cert-and-key.pem", agent.pki.controller),
    ):
        (tmp_path / name).write_bytes(source.read_bytes())
    options = ("--listen", "127.0.0.1:5556", "--json", "--heartbeats")
    with watching(
        tmp_path, *options, "--certificates", "-d", str(tmp_path), inside=agent.outer
    ) as watch:
        watch.await_ear(5556, agent.outer)
        with agent.outer.entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            count = itertools.count()

            def days() -> int | None:
                sender.sendto(datagram("UP", sequence=next(count)), ("127.0.0.1", 5556))
                rows = [row for row in watch.rows() if row["kind"] == "heartbeat"]
                return rows[-1]["certificate_days"] if rows else None

            found = waiting.until("the days", days, deadline_s=DEADLINE_S, every_s=0.2)
        assert found == 29
