# SPDX-License-Identifier: Apache-2.0
"""Heartbeats opened and read: the contract's vector, the sender's own, and everything hostile."""

import contextlib
import hmac
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.heartbeat.message import encode
from amphora_controller.heartbeat import envelope, message
from amphora_controller.heartbeat.envelope import Fault, Refused
from amphora_controller.heartbeat.message import Traffic, opened
from amphora_controller.heartbeat.status import Operating, of_listener, of_member, of_pool

KEY = "insecure"
# A datagram that Octavia 19 makes and takes.
VECTOR = (
    bytes.fromhex(
        "78da9d8fc10ec2200c865f65e12c09db8892ddbdea2e3ec0c6485cdc86021a938577b765347af63f7cf46fdae66765"
        "e3c09a8275655fe97a905c80b8442884f8aa64bb8279f380f1fd01ca69f4c12cc67968acaccce20912a1c892d2a00f"
        "5d78e20e3bb7c753ba099ded4878c323a0e5a8d076597cae830dbfd6b89445c418c1ddad9db62355164f90084596d4"
        "fc11f7d262d8d9cc3dfdb9cee20912a1c8927073b185be1a7d635bd49771d0ade30737655c39"
    )
    + b"6345eebffd4ac506090a9f4bfd45aa5b577cc070350535409dd2e6c57ff75457"
)
AMPHORA = "a1b2c3d4-0000-4000-8000-000000000001"
LISTENER = "11111111-1111-4111-8111-111111111111"
POOL = "22222222-2222-4222-8222-222222222222"
MEMBER = "33333333-3333-4333-8333-333333333333"
STATS = {"tx": 5, "rx": 4, "conns": 3, "totconns": 2, "ereq": 1}


def signed(text: bytes, key: str = KEY, *, raw: bool = False) -> bytes:
    """A datagram of any text."""
    packed = zlib.compress(text)
    digest = hmac.digest(key.encode(), packed, "sha256")
    return packed + (digest if raw else digest.hex().encode())


def fault(datagram: bytes, key: str = KEY) -> Fault:
    """Why a datagram is refused."""
    with pytest.raises(Refused) as caught:
        opened(datagram, key)
    return caught.value.fault


def spoken(**changes: Any) -> dict[str, Any]:
    """A message of version 3."""
    whole: dict[str, Any] = {
        "id": AMPHORA,
        "seq": 7,
        "ver": 3,
        "listeners": {LISTENER: {"status": "OPEN", "stats": STATS}},
        "pools": {f"{POOL}:{LISTENER}": {"status": "UP", "members": {MEMBER: "UP"}}},
    }
    return whole | changes


def test_vector_of_octavia_is_read_and_with_another_key_is_not() -> None:
    """The contract's datagram has sequence 67 and one member; another key refuses it."""
    heartbeat = opened(VECTOR, KEY)
    assert (heartbeat.amphora_id, heartbeat.sequence, heartbeat.version) == (AMPHORA, 67, 3)
    assert heartbeat.listeners[LISTENER].status == "OPEN"
    assert heartbeat.pools[POOL].members == {MEMBER: "no check"}
    assert heartbeat.has_deltas
    assert fault(VECTOR, "other") is Fault.WRONG_KEY


def test_what_the_sender_encodes_is_read_back() -> None:
    """Bytes out are `tx`, bytes in are `rx`."""
    heartbeat = opened(encode(spoken(), key=KEY), key=KEY)  # type: ignore[arg-type]
    assert heartbeat.listeners[LISTENER].traffic == Traffic(
        bytes_in=4, bytes_out=5, connections=2, errors=1
    )
    assert heartbeat.listeners[LISTENER].open_connections == 3


def test_signature_of_old_agents_is_taken_and_upper_case_is_not() -> None:
    """32 raw bytes sign as well; 64 digits in upper case do not, as in Octavia."""
    text = json.dumps(spoken()).encode()
    assert opened(signed(text, raw=True), KEY).sequence == 7
    upper = signed(text)
    assert fault(upper[:-64] + upper[-64:].upper()) is Fault.WRONG_KEY


@pytest.mark.parametrize("version", [None, 0, 1])
def test_old_versions_have_pools_in_listeners(version: int | None) -> None:
    """Pools of versions before 2 are found, and their counters are no deltas."""
    old = spoken(
        listeners={
            LISTENER: {
                "status": "OPEN",
                "stats": STATS,
                "pools": {POOL: {"status": "DOWN", "members": {MEMBER: "DOWN"}}},
            }
        }
    )
    del old["pools"], old["ver"]
    if version is not None:
        old["ver"] = version
    heartbeat = message.read(json.dumps(old).encode())
    assert heartbeat.pools[POOL].status == "DOWN"
    assert not heartbeat.has_deltas


def test_pool_of_several_listeners_is_there_once_and_the_last_counts() -> None:
    """Two listeners' rows of one pool become one; a bare id of IPVS is kept as it is."""
    heartbeat = message.read(
        json.dumps(
            spoken(
                pools={
                    f"{POOL}:one": {"status": "UP", "members": {}},
                    f"{POOL}:two": {"status": "DOWN", "members": {}},
                    "bare": {"status": "UP", "members": {}},
                }
            )
        ).encode()
    )
    assert {name: pool.status for name, pool in heartbeat.pools.items()} == {
        POOL: "DOWN",
        "bare": "UP",
    }


# As large as a heartbeat can be, and the same names everywhere, so that it packs well.
LARGE = json.dumps(
    spoken(
        pools={f"{POOL}:{n}": {"status": "UP", "members": {MEMBER: "UP"}} for n in range(20_000)}
    )
).encode()


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (b"", Fault.GARBAGE),
        (b"y", Fault.GARBAGE),
        (b"GET / HTTP/1.1\r\n\r\n", Fault.GARBAGE),
        (bytes(70_000), Fault.OVERSIZE),
        (bytes(65_527), Fault.GARBAGE),
        (VECTOR[:-1], Fault.TRUNCATED),
        (VECTOR[:100], Fault.TRUNCATED),
        (VECTOR[:-64], Fault.TRUNCATED),
        (VECTOR + bytes(40), Fault.GARBAGE),
        (VECTOR[:-1] + b"0", Fault.WRONG_KEY),
        (signed(json.dumps(spoken()).encode(), "forged"), Fault.WRONG_KEY),
        (signed(b" " * 9_000_000), Fault.OVERSIZE),
        (signed(b" " * 9_000_000, "forged"), Fault.GARBAGE),
        # What only claims to be large is not unpacked to its end.
        (signed(b" " * 1_000_000, "forged"), Fault.GARBAGE),
        (signed(b" " * 1_000_000), Fault.MALFORMED),
        (signed(LARGE, "forged"), Fault.WRONG_KEY),
        (b"no zlib" + hmac.digest(KEY.encode(), b"no zlib", "sha256"), Fault.MALFORMED),
        (signed(b""), Fault.MALFORMED),
        (signed(b"\xff"), Fault.MALFORMED),
        (signed(b"[" * 100_000), Fault.MALFORMED),
        (signed(b"[]"), Fault.MALFORMED),
        (signed(json.dumps(spoken(ver=4)).encode()), Fault.VERSION),
        (signed(json.dumps(spoken(ver=-1)).encode()), Fault.VERSION),
        (signed(json.dumps(spoken(ver="3")).encode()), Fault.MALFORMED),
        (signed(json.dumps(spoken(id="\x1b[2J")).encode()), Fault.MALFORMED),
        (signed(json.dumps(spoken(id=AMPHORA + "\n")).encode()), Fault.MALFORMED),
        (signed(json.dumps(spoken(listeners=None)).encode()), Fault.MALFORMED),
        (signed(json.dumps(spoken(listeners={"a": {"status": "\x07"}})).encode()), Fault.MALFORMED),
        (signed(json.dumps(spoken(seq=10**30)).encode()), Fault.MALFORMED),
    ],
)
def test_bad_datagrams_are_told_apart(datagram: bytes, expected: Fault) -> None:
    """Each kind of bad datagram has its name."""
    assert fault(datagram) is expected


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_refused(datagram: bytes) -> None:
    """Random bytes, signed or not, never raise anything but Refused."""
    for candidate in (datagram, signed(datagram), VECTOR[:100] + datagram):
        with pytest.raises(Refused):
            opened(candidate, KEY)


@given(st.data())
def test_one_changed_byte_is_refused(data: st.DataObject) -> None:
    """A genuine datagram with any one byte changed is no heartbeat any more."""
    where = data.draw(st.integers(0, len(VECTOR) - 1))
    change = data.draw(st.integers(1, 255))
    changed = bytearray(VECTOR)
    changed[where] ^= change
    with pytest.raises(Refused):
        opened(bytes(changed), KEY)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(["id", "seq", "ver", "listeners", "pools"]), _JSON)
def test_any_value_anywhere_is_read_or_refused(field: str, value: Any) -> None:
    """A signed message with nonsense in a field is a heartbeat or is refused, and nothing else."""
    text = json.dumps(spoken(**{field: value})).encode()
    assert envelope.text(signed(text), KEY) == text
    with contextlib.suppress(Refused):
        assert message.read(text).version == (value if field == "ver" else 3)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("UP", Operating.ONLINE),
        ("UP 1/3", Operating.ONLINE),
        ("DOWN 1/2", Operating.ERROR),
        ("DRAIN", Operating.DRAINING),
        ("MAINT", Operating.OFFLINE),
        ("no check", Operating.NO_MONITOR),
        ("RESTARTING", None),
        ("up", None),
    ],
)
def test_members_words_mean_what_they_mean_to_octavia(word: str, status: Operating | None) -> None:
    """The table of the contract, by prefix; RESTARTING means no change."""
    assert of_member(word) is status


def test_listeners_and_pools_words() -> None:
    """FULL is degraded, DOWN an error, and an unknown word nothing."""
    assert (of_listener("FULL"), of_listener("STOP")) == (Operating.DEGRADED, None)
    assert (of_pool("DOWN"), of_pool("NOLB")) == (Operating.ERROR, None)
