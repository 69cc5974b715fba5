# SPDX-License-Identifier: Apache-2.0
"""Checksums of what a request brought."""

import hashlib


def md5sum(content: bytes) -> str:
    """The MD5 of bytes in hexadecimal; controllers compare it, nobody trusts it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
