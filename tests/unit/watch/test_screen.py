# SPDX-License-Identifier: Apache-2.0
"""What stands on the terminal."""

import io
import itertools
import json

import pytest
from rich.console import Console

from amphora_controller.watch import view
from amphora_controller.watch.certificates import Validity
from amphora_controller.watch.screen import Lines, LiveTable, drawn
from amphora_controller.watch.watcher import Watcher
from tests.support import watched
from tests.support.watched import (
    ADDRESS,
    AMPHORA,
    LISTENER,
    MEMBERS,
    POOL,
    START,
    give,
    hear,
    moment,
)


def shown(
    watch: Watcher,
    *,
    sinks: tuple[view.SinkRow, ...] = (),
    lost_reason: str = "",
    validity: Validity | None = None,
) -> view.View:
    """The view of a watch."""
    rows = [
        view.row(
            known,
            watch.last.get(known.amphora_id),
            unheard_s=watch.silent_for_s(known.amphora_id),
            validity=validity,
            now=START,
        )
        for known in watch.known.values()
    ]
    return view.View(
        rows=view.in_order(rows),
        tally=watch.tally,
        sinks=sinks,
        lost=3,
        lost_reason=lost_reason,
        shows_days=validity is not None,
    )


def printed(found: view.View, *, width: int = 200, height: int = 50) -> str:
    """The table as text, as it stands on a terminal of this size."""
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(drawn(found, console))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_has_what_is_not_well_first_and_counts_the_rest(watch: Watcher) -> None:
    """With room for one row, it is that of the amphora that is not well."""
    hear(watch, 0, "UP", amphora_id="fine")
    hear(watch, 1, "UP", "DOWN", amphora_id="sick")
    hear(watch, 11, "UP", "DOWN", amphora_id="sick")
    text = printed(shown(watch), height=5)
    assert "sick" in text
    assert "2 (1 ERROR)" in text
    assert "fine" not in text
    assert "… and 1 more" in text
    assert "2 amphorae, 3 heartbeats" in text


@pytest.fixture
def busy(watch: Watcher) -> Watcher:
    """A watch of thirty amphorae with long names and addresses, and troubles of its own."""
    for sequence, number in itertools.product(range(2), range(30)):
        name = f"{number:08d}-0000-4000-8000-000000000001"
        payload = watched.datagram("UP", "DOWN", amphora_id=name, sequence=sequence)
        source = f"2001:db8:1111:2222:3333:4444:5555:{number:x}"
        give(watch, sequence * 10, payload, source=source)
    give(watch, 11, watched.datagram("UP", key="another"))
    return watch


@pytest.mark.parametrize("width", [50, 60, 79, 80, 99, 100, 119, 120, 200])
@pytest.mark.parametrize("height", [16, 24, 60])
def test_table_fits_the_terminal(busy: Watcher, width: int, height: int) -> None:
    """No line is longer than the terminal is wide, nor are there more of them than it has."""
    reason = "an authority that is unknown here signed it"
    sink = view.SinkRow(name="webhook", waiting=7, dropped=2, trouble="x" * 60)
    found = shown(busy, sinks=(sink,), validity=Validity(until=None, reason=reason))
    lines = printed(found, width=width, height=height).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert len(lines) < height
    # Of an id as much as is needed to know it; statuses are whole.
    [first, *_] = [line for line in lines if line.startswith("00000000")]
    assert "2 (1 ERROR)" in first


def test_wide_table_leaves_nothing_out(busy: Watcher) -> None:
    """With room enough ids, addresses and every column are whole."""
    text = printed(shown(busy), width=200, height=60)
    assert "00000029-0000-4000-8000-000000000001" in text
    assert "2001:db8:1111:2222:3333:4444:5555:1d" in text
    for heading in ("listeners", "pools", "members", "in B/s", "out B/s", "new/s", "open", "heard"):
        assert heading in text
    assert "…" not in text


def test_table_says_what_is_wrong_with_the_watch(watch: Watcher) -> None:
    """Wrong keys, and a sink that takes nothing, stand below the table."""
    assert "refused" not in printed(shown(watch))
    give(watch, 0, watched.datagram("UP", key="another"))
    sink = view.SinkRow(name="webhook", waiting=7, dropped=2, trouble="refused")
    text = printed(shown(watch, sinks=(sink,), lost_reason="no route"))
    for words in (
        f"1 refused: wrong key, or forged (the last from {ADDRESS})",
        "no heartbeat has this key",
        "3 heartbeats were not handed on to Octavia: no route",
        "webhook: 7 events wait; refused",
        "2 events were given up",
    ):
        assert words in text
    for _ in range(3):
        give(watch, 1, watched.datagram("UP"))
    text = printed(shown(watch, validity=Validity(until=None, reason="it has expired")))
    assert f"2 heartbeats came once more (the last from {ADDRESS})" in text
    assert f"1 amphorae do not show a certificate, such as {ADDRESS}: it has expired" in text
    assert "has this key" not in text


def test_lines_tell_each_kind_of_trouble_once(watch: Watcher) -> None:
    """A trouble that goes on is not repeated while only its count grows."""
    out = io.StringIO()
    lines = Lines(out, out, as_json=False, heartbeats=False)
    for _ in range(3):
        give(watch, 0, watched.datagram("UP", key="another"))
        lines.show(shown(watch))
    lines.changed(hear(watch, 1))
    assert out.getvalue().count("refused: wrong key") == 1
    assert f"amphora {AMPHORA} ({ADDRESS}): not there -> ALIVE" in out.getvalue()


def test_json_has_these_fields_and_troubles_are_no_part_of_it(watch: Watcher) -> None:
    """Each line is as docs/watch.md has it; what is wrong with the watch goes elsewhere."""
    out, notes = io.StringIO(), io.StringIO()
    lines = Lines(out, notes, as_json=True, heartbeats=True)
    give(watch, 0, watched.datagram("UP", key="another"))
    lines.show(shown(watch))
    lines.changed(hear(watch, 0, "DOWN"))
    for second in range(1, 10):
        watch.tick(moment(second))
    hear(watch, 10, "DOWN", sequence=1)
    lines.heard(shown(watch).rows[0], watch.last[AMPHORA].heartbeat, START)
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    at = "2026-01-01T00:00:00Z"
    common = {"at": at, "amphora_id": AMPHORA, "address": ADDRESS}
    assert told == [
        common
        | {"number": 1, "kind": "amphora", "object_id": AMPHORA, "pool_id": ""}
        | {"before": None, "after": "ALIVE"},
        common
        | {"number": 2, "kind": "member", "object_id": MEMBERS[0], "pool_id": POOL}
        | {"before": None, "after": "ERROR"},
        common
        | {"kind": "heartbeat", "sequence": 1, "version": 3, "listeners": {LISTENER: "ONLINE"}}
        | {"pools": {POOL: "ONLINE"}, "members": {f"{POOL}/{MEMBERS[0]}": "ERROR"}}
        | {"open_connections": 1, "bytes_in_per_s": 10.0, "bytes_out_per_s": 20.0}
        | {"connections_per_s": 1.0, "errors_per_s": 0.0, "certificate_days": None},
    ]
    assert "refused: wrong key" in notes.getvalue()


def test_table_begins_anew_when_the_terminal_has_another_size(
    busy: Watcher,
) -> None:
    """After a resize everything is cleared and drawn again to fit; otherwise nothing is cleared."""
    terminal = Console(
        file=io.StringIO(), width=120, height=20, force_terminal=True, _environ={"TERM": "xterm"}
    )
    clear = "\x1b[2J"
    assert isinstance(terminal.file, io.StringIO)
    table = LiveTable(terminal)
    table.show(shown(busy))
    table.show(shown(busy))
    assert clear not in terminal.file.getvalue()
    terminal.size = (50, 10)
    table.show(shown(busy))
    _, anew = terminal.file.getvalue().split(clear)
    table.close()
    assert len(anew.splitlines()) <= 10


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (12_345, "12k"),
        (2.5e12, "2.5T"),
        (1e16, "10000T"),
    ],
)
def test_amounts_are_short(value: float, text: str) -> None:
    """Large numbers get a prefix."""
    assert view.amount(value) == text
