# SPDX-License-Identifier: Apache-2.0
"""Python's own SHA-256 in place of OpenSSL's, in processes of their own."""

import subprocess
import sys

import pytest

from tests.support.heartbeat_samples import VECTOR_KEY, VECTOR_PACKED, VECTOR_SIGNATURE

_SIGN = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[3:]))
import amphora_agent.sender.own_hashes
import hmac
key, data = map(bytes.fromhex, sys.argv[1:3])
print(hmac.new(key, data, "sha256").hexdigest(), sys.modules["_hashlib"] is None)
"""


@pytest.mark.parametrize(
    ("missing", "is_own"), [((), True), (("_sha2", "_sha256"), False)], ids=["own", "openssl"]
)
def test_signature_is_the_same_with_and_without_openssl(
    missing: tuple[str, ...], is_own: bool
) -> None:
    """A Python without hashes of its own goes on with OpenSSL's, and signs alike."""
    argv = (VECTOR_KEY.encode().hex(), VECTOR_PACKED.hex(), *missing)
    done = subprocess.run(
        [sys.executable, "-c", _SIGN, *argv], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [VECTOR_SIGNATURE.decode(), str(is_own)]


def test_openssl_that_is_there_already_stays() -> None:
    """In a process that has it loaded nothing changes: both halves of hashlib would not agree."""
    script = "import hashlib, amphora_agent.sender.own_hashes, sys; print(sys.modules['_hashlib'])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("<module '_hashlib'")
