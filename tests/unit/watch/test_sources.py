# SPDX-License-Identifier: Apache-2.0
"""Where heartbeats and their key come from."""

from pathlib import Path

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.watch import ears, forward, key


@pytest.mark.parametrize(
    ("segment", "payload"),
    [
        (b"\x00\x01\x00\x02\x00\x0b\x00\x00abc", b"abc"),
        (b"\x00\x01\x00\x02\x00\x0b\x00\x00abcdef", b"abc"),
        (b"\x00\x01\x00\x02\x00\x08\x00\x00", b""),
        (b"\x00\x01\x00\x02\x00\x0c\x00\x00abc", None),
        (b"\x00\x01\x00\x02\x00\x07\x00\x00abc", None),
        (b"\x00\x01\x00", None),
        (b"", None),
    ],
)
def test_payload_of_udp(segment: bytes, payload: bytes | None) -> None:
    """The payload has the length that the header says, or is none."""
    assert ears.udp_payload(segment) == payload


@pytest.mark.parametrize(
    ("listen", "target", "comes_back"),
    [
        (("127.0.0.1", 5555), ("127.0.0.1", 5555), True),
        (("127.0.0.1", 5555), ("localhost", 5555), True),
        (("0.0.0.0", 5555), ("127.0.0.1", 5555), True),
        (("::", 5555), ("127.0.0.1", 5555), True),
        (("::1", 5555), ("0:0::1", 5555), True),
        (("0.0.0.0", 5555), ("127.0.0.1", 5556), False),
        (("0.0.0.0", 5555), ("203.0.113.1", 5555), False),
        (("127.0.0.2", 5555), ("127.0.0.1", 5555), False),
        (("127.0.0.1", 5555), ("nobody.invalid", 5555), False),
    ],
)
def test_what_is_handed_on_must_not_come_back(
    listen: tuple[str, int], target: tuple[str, int], comes_back: bool
) -> None:
    """A health manager may have the same port at another address, but not the same place."""
    assert forward.comes_back(listen, target) is comes_back


def test_key_comes_from_octavia_conf_or_from_a_file(tmp_path: Path) -> None:
    """The last key of its section counts, and a doubled dollar sign is one; none is an error."""
    conf = tmp_path / "octavia.conf"
    conf.write_text("[health_manager]\nheartbeat_key = x\nheartbeat_key = 'a%$$key'\n")
    assert key.from_octavia_conf(conf) == "a%$key"
    for text, words in (
        ("[health_manager]\nbind_port = 5555\n", "has no [health_manager] heartbeat_key"),
        ("[health_manager]\nheartbeat_key = \n", "has no [health_manager] heartbeat_key"),
        ("no section\n", "octavia.conf is no configuration file, see line 1"),
        ("[health_manager]\nheartbeat_key = a$key\n", "another option, $key"),
    ):
        conf.write_text(text)
        with pytest.raises(ControllerError) as caught:
            key.from_octavia_conf(conf)
        assert words in str(caught.value)


def test_key_in_a_file_is_the_whole_of_it(tmp_path: Path) -> None:
    """Only a line's end is no part of it; an empty file, or one that is no text, is an error."""
    path = tmp_path / "key"
    path.write_text(" $the 'key'\n")
    assert key.from_file(path) == " $the 'key'"
    for content, words in ((b"\n", "is empty"), (b"\xff", "cannot be read")):
        path.write_bytes(content)
        with pytest.raises(ControllerError, match=words):
            key.from_file(path)
