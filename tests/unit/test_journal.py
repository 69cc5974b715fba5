# SPDX-License-Identifier: Apache-2.0
"""Lines of the log go to the journal with fields."""

import logging
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.system import journal
from amphora_agent.system.journal import JournalHandler


def parsed(data: bytes) -> dict[str, str]:
    """What systemd's journal reads in a datagram."""
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + length], data[8 + length :]
            assert data[:1] == b"\n"
            data = data[1:]
        found[name.decode()] = value.decode()
    return found


@dataclass
class Log:
    """A logger, and the journal that it speaks to."""

    logger: logging.Logger
    receiver: socket.socket

    def next(self) -> dict[str, str]:
        return parsed(self.receiver.recv(1 << 20))


@pytest.fixture
def log() -> Iterator[Log]:
    with (
        tempfile.TemporaryDirectory(prefix="amp-") as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        path = Path(directory, "socket")
        receiver.bind(str(path))
        receiver.settimeout(5)
        logger = logging.Logger("amphora_agent.x")
        handler = JournalHandler("amphora-agent", 5, path)
        logger.addHandler(handler)
        yield Log(logger, receiver)
        handler.close()


@given(
    st.dictionaries(
        st.from_regex("[A-Z][A-Z_]{0,9}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"])),
    )
)
def test_fields_arrive_as_they_were(values: dict[str, str]) -> None:
    """No text, whatever it holds, becomes another field or is cut."""
    assert parsed(journal.datagram(values)) == values


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.CRITICAL, "3"), (logging.ERROR, "3"), (logging.WARNING, "4"), (logging.INFO, "6"),
     (logging.DEBUG, "7")],
)  # fmt: skip
def test_line_has_priority_facility_and_logger(log: Log, level: int, priority: str) -> None:
    """A line arrives under its level, the controller's facility and the logger's name."""
    log.logger.log(level, "one %s", "line")

    sent = log.next()
    assert (sent["MESSAGE"], sent["PRIORITY"]) == ("one line", priority)
    assert sent["SYSLOG_FACILITY"] == "21"  # local5
    assert sent["SYSLOG_IDENTIFIER"] == "amphora-agent"
    assert sent["LOGGER"] == "amphora_agent.x"
    assert "REQUEST_ID" not in sent


def test_lines_of_a_request_are_marked(log: Log) -> None:
    """Fields hold within their block and thread, and not after it or in other threads."""
    with journal.fields(REQUEST_ID="1", CLIENT="192.0.2.1"), journal.fields(REQUEST_ID="2"):
        log.logger.warning("within")
        other = threading.Thread(target=log.logger.warning, args=("beside",))
        other.start()
        other.join()
    log.logger.warning("after")

    within, beside, after = log.next(), log.next(), log.next()
    assert (within["REQUEST_ID"], within["CLIENT"]) == ("2", "192.0.2.1")
    assert not {"REQUEST_ID", "CLIENT"} & (beside.keys() | after.keys())


def test_traceback_is_one_line_of_the_journal(log: Log) -> None:
    """The text of an exception comes with its message, not as lines without priority."""
    try:
        raise ValueError("why")
    except ValueError:
        log.logger.exception("It failed")

    message = log.next()["MESSAGE"]
    assert message.startswith("It failed\nTraceback")
    assert message.endswith("ValueError: why")


def test_long_line_is_cut(log: Log) -> None:
    """A line of a megabyte arrives in part."""
    log.logger.error("x" * 1_000_000)

    assert 1000 < len(log.next()["MESSAGE"]) < 100_000


def test_without_a_journal_lines_go_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that the journal does not take is not lost."""
    handler = JournalHandler("amphora-agent", 1, tmp_path / "absent")
    logger = logging.Logger("x")
    logger.addHandler(handler)
    logger.error("not lost")
    handler.close()

    assert "not lost" in capsys.readouterr().err


def test_journal_is_used_where_systemd_says_so() -> None:
    """Without JOURNAL_STREAM nothing is sent to a journal that may be there."""
    assert not journal.is_at_hand({})
