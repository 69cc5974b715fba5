# SPDX-License-Identifier: Apache-2.0
"""Documents of any shape: a value or a ParseError, nothing else."""

import contextlib
import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amphora_agent.configdrive import network
from amphora_agent.configdrive.metadata import meta_data
from amphora_agent.configdrive.userdata import user_data
from amphora_agent.errors import ParseError
from tests.unit.configdrive.documents import (
    JSON,
    LINKED,
    UNHURRIED,
    as_bytes,
)

PARSERS: list[Callable[[bytes], object]] = [meta_data, network.network_data]


@pytest.mark.parametrize("parse", PARSERS)
@UNHURRIED
@given(JSON | LINKED)
def test_document_of_any_shape_gives_a_value_or_a_parse_error(
    parse: Callable[[bytes], object], document: object
) -> None:
    """JSON of any shape never raises anything but ParseError."""
    accepted_or_refused(parse, as_bytes(document))


@pytest.mark.parametrize("parse", [*PARSERS, user_data])
@UNHURRIED
@given(st.binary())
@example(b"[" * 100_000)
@example(b'{"a":' * 900 + b"1" + b"}" * 900)
@example(b'{"links": ' + b"[" * 800 + b"]" * 800 + b"}")
@example(b'{"links": [{"id": "a", "mtu": ' + b"9" * 5000 + b"}]}")
@example(b'{"uuid": "\\ud800", "files": [{"path": "/\\ud800"}]}')
@example(b"\xff\xfe{\x00")
def test_bytes_of_any_kind_give_a_value_or_a_parse_error(
    parse: Callable[[bytes], object], data: bytes
) -> None:
    """Bytes of any kind never raise anything but ParseError."""
    accepted_or_refused(parse, data)


@UNHURRIED
@given(JSON | st.text())
def test_user_data_of_any_shape_gives_a_value_or_a_parse_error(document: object) -> None:
    """What follows the first line may be any JSON (a part of YAML) or any text."""
    text = document if isinstance(document, str) else json.dumps(document)
    accepted_or_refused(user_data, f"#cloud-config\n{text}".encode())


def accepted_or_refused(parse: Callable[[bytes], object], data: bytes) -> None:
    """Fail on any error but ParseError."""
    with contextlib.suppress(ParseError):
        parse(data)
