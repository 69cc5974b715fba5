# SPDX-License-Identifier: Apache-2.0
"""What haproxy's stats socket answers, read into values."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from amphora_agent import showstat
from amphora_agent.errors import ParseError
from amphora_agent.showstat import Frontend, Server, Worker

GOLDEN = Path(__file__).parent.parent / "golden" / "showstat"
CAPTURES = [
    GOLDEN / f"haproxy-2.6-{when}.txt"
    for when in ("started", "traffic", "failing", "down", "recovering")
]
DERIVED = sorted(GOLDEN.glob("derived-*.txt"))

LISTENER = "1157e4e2-0000-4000-8000-00000000000"
POOL = "9001d000-0000-4000-8000-00000000000"
MEMBER = "3e3be200-0000-4000-8000-0000000000"


def capture(name: str) -> str:
    """One of the stored answers."""
    return (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


TRAFFIC = capture("haproxy-2.6-traffic")


def members(name: str, *, pool: str) -> dict[str, tuple[str, int]]:
    """Status and weight of the servers of one backend, by the last two digits of the name."""
    (backend,) = (found for found in showstat.parse(capture(name)).backends if found.name == pool)
    return {server.name[-2:]: (server.status, server.weight) for server in backend.servers}


def parses(text: str) -> bool:
    """Whether the parser takes a text; any error but ParseError fails the test."""
    try:
        showstat.parse(text)
    except ParseError:
        return False
    return True


def quoted(cell: str) -> str:
    """A cell as haproxy prints it."""
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if set(cell) & set(',"\r\n') else cell


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_every_capture_has_the_five_listeners_and_five_pools(path: Path) -> None:
    """Each real answer names the five listeners, the five pools, and the exporter's own pair."""
    snapshot = showstat.parse(path.read_text(encoding="utf-8"))
    names = [frontend.name for frontend in snapshot.frontends]
    assert names == ["prometheus-exporter-internal-endpoint", *(LISTENER + c for c in "12345")]
    assert [backend.name for backend in snapshot.backends] == [
        "prometheus-exporter-internal",
        f"{POOL}1:{LISTENER}1",
        f"{POOL}1:{LISTENER}3",
        f"{POOL}2:{LISTENER}2",
        f"{POOL}3:{LISTENER}4",
        f"{POOL}4:{LISTENER}4",
    ]


def test_frontend_has_the_counters_of_its_row() -> None:
    """The first listener served five requests and one bad one: 520 bytes in, 595 out."""
    frontend = showstat.parse(TRAFFIC).frontends[1]
    assert frontend == Frontend(
        name=f"{LISTENER}1",
        status="OPEN",
        sessions=0,
        bytes_in=520,
        bytes_out=595,
        request_errors=1,
        sessions_total=6,
    )


def test_frontend_counts_open_sessions() -> None:
    """The TCP listener has one connection open at the moment of the capture."""
    assert showstat.parse(TRAFFIC).frontends[2].sessions == 1


def test_worker_is_named_by_pid_and_start() -> None:
    """`show info` gives the process id and the second of its start."""
    assert showstat.parse(TRAFFIC).worker == Worker(pid=24721, started_s=1795405453)


def test_server_states_are_those_of_haproxy() -> None:
    """Checked, refused, drained and disabled servers keep haproxy's own words and weights."""
    assert members("haproxy-2.6-traffic", pool=f"{POOL}1:{LISTENER}1") == {
        "01": ("UP", 1),
        "02": ("DOWN", 1),
        "03": ("UP", 0),
        "04": ("MAINT", 1),
    }


def test_server_without_check_says_so() -> None:
    """A server that is not checked is `no check`, even with weight 0."""
    assert members("haproxy-2.6-traffic", pool=f"{POOL}2:{LISTENER}2") == {
        "05": ("no check", 1),
        "06": ("no check", 1),
        "10": ("no check", 0),
    }


@pytest.mark.parametrize(
    ("name", "status"),
    [("failing", "UP 1/3"), ("down", "DOWN"), ("recovering", "DOWN 1/2")],
)
def test_server_on_its_way_down_and_up(name: str, status: str) -> None:
    """A member whose answer has commas and quotes keeps its row: they stand in a quoted cell."""
    assert members(f"haproxy-2.6-{name}", pool=f"{POOL}1:{LISTENER}3")["03"] == (status, 0)


def test_backends_without_and_with_only_disabled_servers() -> None:
    """A backend without servers is UP, one whose servers are all in maintenance is DOWN."""
    states = {backend.name: backend for backend in showstat.parse(TRAFFIC).backends}
    empty, disabled = states[f"{POOL}3:{LISTENER}4"], states[f"{POOL}4:{LISTENER}4"]
    assert (empty.status, empty.servers) == ("UP", ())
    assert (disabled.status, len(disabled.servers)) == ("DOWN", 2)


@pytest.mark.parametrize("path", DERIVED, ids=lambda path: path.stem)
def test_columns_are_found_by_name(path: Path) -> None:
    """Added or moved columns change nothing of what is read."""
    assert DERIVED
    assert showstat.parse(path.read_text(encoding="utf-8")) == showstat.parse(TRAFFIC)


def test_missing_column_is_an_error() -> None:
    """Without the column `ereq` the statistics are refused."""
    with pytest.raises(ParseError):
        showstat.parse(TRAFFIC.replace(",ereq,", ",else,", 1))


def test_every_truncated_answer_is_refused() -> None:
    """An answer that lacks its last byte, or any more, is never taken for a shorter truth."""
    assert parses(TRAFFIC)
    assert not any(parses(TRAFFIC[:length]) for length in range(0, len(TRAFFIC), 7))
    assert not parses(TRAFFIC[:-1])


def test_answer_cut_between_two_rows_is_refused() -> None:
    """Whole rows alone do not make an answer: the blank line at the end must be there."""
    rows = TRAFFIC.removesuffix("\n\n").split("\n")
    assert not any(parses("\n".join(rows[:keep]) + "\n") for keep in range(70, len(rows)))


def test_denied_command_is_a_parse_error() -> None:
    """What the socket answers to a command of a higher level is no statistics."""
    with pytest.raises(ParseError):
        showstat.parse(capture("haproxy-2.6-denied"))


def test_name_given_twice_is_an_error() -> None:
    """Two rows for one frontend are refused: nobody could say which one counts."""
    (row,) = (line for line in TRAFFIC.split("\n") if line.startswith(f"{LISTENER}1,FRONTEND"))
    with pytest.raises(ParseError, match="twice"):
        showstat.parse(TRAFFIC.replace(row, f"{row}\n{row}"))


def test_empty_counter_is_zero() -> None:
    """haproxy leaves a counter empty where it does not apply, and that is 0."""
    text = TRAFFIC.replace(f"{LISTENER}1,FRONTEND,,,0,1,", f"{LISTENER}1,FRONTEND,,,,1,")
    assert text != TRAFFIC
    assert showstat.parse(text).frontends[1].sessions == 0


@pytest.mark.parametrize("number", ["-1", "+1", "1_0", " 1", "1.5", "٣", "x", "9" * 20, "9" * 5000])
def test_wrong_counter_is_an_error(number: str) -> None:
    """Only plain digits up to 64 bits are a counter."""
    text = TRAFFIC.replace(f"{LISTENER}1,FRONTEND,,,0,", f"{LISTENER}1,FRONTEND,,,{number},")
    assert text != TRAFFIC
    with pytest.raises(ParseError):
        showstat.parse(text)


@pytest.mark.parametrize("line", ["Pid", "Start_time_sec"])
def test_worker_without_identity_is_an_error(line: str) -> None:
    """Without process id or start nobody knows from where the counters count."""
    with pytest.raises(ParseError, match=line):
        showstat.parse(TRAFFIC.replace(f"\n{line}: ", "\nother: ", 1))


@hypothesis_settings(deadline=None)
@given(st.text())
def test_text_of_a_member_invents_nothing(answer: str) -> None:
    """Whatever a member answers to a health check, only the state of that check's row changes."""
    failing = capture("haproxy-2.6-failing")
    said = '"Not now, ""please"""'
    assert said in failing
    # haproxy ends what it prints of a check at a NUL, as every C string.
    text = failing.replace(said, quoted(answer.replace("\0", "")))
    assert showstat.parse(text) == showstat.parse(failing)


@hypothesis_settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(TRAFFIC)),
            st.integers(0, 400),
            st.one_of(
                st.text(alphabet=',"\n\r\0 #:0123456789abcdefFRONTED', max_size=20),
                st.text(max_size=5),
            ),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_damaged_answer_raises_nothing_but_parse_error(edits: list[tuple[int, int, str]]) -> None:
    """However an answer is cut and mixed, it is refused, or says only names that stand in it."""
    text = TRAFFIC
    for position, length, instead in edits:
        text = text[:position] + instead + text[position + length :]
    try:
        snapshot = showstat.parse(text)
    except ParseError:
        return
    assert all(frontend.name.replace('"', '""') in text for frontend in snapshot.frontends)


@hypothesis_settings(deadline=None)
@given(st.text())
def test_any_text_raises_nothing_but_parse_error(text: str) -> None:
    """No text at all makes the parser fail in another way."""
    for whole in (text, f"Pid: 1\nStart_time_sec: 1\n\n# {text}\n\n"):
        assert parses(whole) in {True, False}


def test_unknown_kind_of_row_is_passed_over() -> None:
    """A row of a single socket (type 3), as other masks show it, is no frontend."""
    stat = "# pxname,svname,scur,stot,bin,bout,ereq,status,weight,type,\n"
    row = f"{LISTENER}1,sock-1,1,2,3,4,5,OPEN,,3,\n"
    assert showstat.parse_stat(f"{stat}{row}\n") == ((), ())
    same_as_frontend = row.removesuffix("3,\n") + "0,\n"
    as_frontend, _ = showstat.parse_stat(f"{stat}{same_as_frontend}\n")
    assert [frontend.name for frontend in as_frontend] == [f"{LISTENER}1"]


def test_server_without_backend_row_is_left_out() -> None:
    """A server row alone makes no backend."""
    stat = "# pxname,svname,scur,stot,bin,bout,ereq,status,weight,type,\n"
    row = f"{POOL}1:{LISTENER}1,{MEMBER}01,1,2,3,4,5,UP,1,2,\n"
    assert showstat.parse_stat(f"{stat}{row}\n") == ((), ())
    whole = f"{stat}{row}{POOL}1:{LISTENER}1,BACKEND,1,2,3,4,5,UP,1,1,\n\n"
    _, (backend,) = showstat.parse_stat(whole)
    assert backend.servers == (Server(name=f"{MEMBER}01", status="UP", weight=1),)


PROCESSES = """#<PID>          <type>          <reloads>       <uptime>        <version>
27987           master          2 [failed: 0]   0d00h00m03s     2.6.12-1+deb12u4
# workers
27993           worker          0               0d00h00m02s     2.6.12-1+deb12u4
# old workers
27989           worker          1               0d00h00m03s     2.6.12-1+deb12u4
27980           worker          2               0d00h00m09s     2.6.12-1+deb12u4
# programs
27981           x               0               0d00h00m09s     2.6.12-1+deb12u4

"""


def test_old_workers_are_those_of_their_section() -> None:
    """Neither the master nor the current worker is an old one."""
    assert showstat.parse_old_workers(PROCESSES) == [27989, 27980]
    without = PROCESSES[: PROCESSES.index("# old")] + "# programs\n\n"
    assert showstat.parse_old_workers(without) == []


@pytest.mark.parametrize(
    "text", ["", "Unknown command\n", PROCESSES.replace("27989", "-1"), "Permission denied\n"]
)
def test_answer_that_lists_no_processes_is_refused(text: str) -> None:
    """An error of the master is not taken for a list without old workers."""
    with pytest.raises(ParseError):
        showstat.parse_old_workers(text)
