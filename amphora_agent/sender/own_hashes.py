# SPDX-License-Identifier: Apache-2.0
"""Makes hashlib and hmac use Python's own SHA-256; to be imported before anything imports them.

They load OpenSSL's library if they can: 3.4 MiB, a quarter of a process that signs some kilobytes
every few seconds and needs nothing else of it. Without the module `_hashlib` they do as in a Python
that was built without OpenSSL. One that was built without hashes of its own (configure
--with-builtin-hashlib-hashes) goes on with OpenSSL's.
"""

import sys
from importlib import import_module

# Where SHA-256 is: from Python 3.12 on, and before.
_OWN_SHA256 = ("_sha2", "_sha256")


def _is_there(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


if "_hashlib" not in sys.modules and any(map(_is_there, _OWN_SHA256)):
    # None marks what cannot be imported.
    sys.modules["_hashlib"] = None  # type: ignore[assignment]
