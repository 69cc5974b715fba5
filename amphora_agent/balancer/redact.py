# SPDX-License-Identifier: Apache-2.0
"""Text that may be shown: keys and passwords are cut out."""

import re
from collections.abc import Iterable

HIDDEN = "(not shown)"

# To the end of the block, or of the text if it was cut off.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
# keepalived.conf(5); amphora-agent.conf of Octavia.
_PASSWORD = re.compile(
    r"^([ \t]*(?:auth_pass[ \t]+|heartbeat_key[ \t]*[=:][ \t]*))\S.*$", re.MULTILINE
)
# Shorter ones would be found in words that mean nothing.
_SECRET_MIN_CHARACTERS = 4


def text(shown: str, secrets: Iterable[str] = ()) -> str:
    """A text without private keys, passwords of VRRP, the key of heartbeats, and `secrets`.

    Args:
        secrets: values that are cut out wherever they stand.
    """
    shown = _PRIVATE_KEY.sub(HIDDEN, shown)
    shown = _PASSWORD.sub(rf"\1{HIDDEN}", shown)
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SECRET_MIN_CHARACTERS:
            shown = shown.replace(secret, HIDDEN)
    return shown
