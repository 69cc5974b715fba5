# SPDX-License-Identifier: Apache-2.0
"""`amphoractl` as an operator runs it on a controller."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

from amphora_controller import cli
from amphora_controller.certificates.store import Store
from tests.support.netns import Namespace
from tests.support.pki import Authority, Pki

PASSPHRASE = "not a secret"


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON, of a command that did what it was asked."""
        assert self.status == 0, self.err
        return json.loads(self.out)


def run(inside: Namespace, *words: str) -> Said:
    """Run one command in a namespace."""
    out, err = io.StringIO(), io.StringIO()
    with inside.entered(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(words)
    return Said(status=status, out=out.getvalue(), err=err.getvalue())


def controller_files(pki: Pki, directory: Path) -> Store:
    """The certificates of a controller, under their names."""
    made = Store(directory=directory)
    made.write(
        {
            made.server_chain: pki.server_chain.read_bytes(),
            made.client_chain: pki.client_chain.read_bytes(),
            made.client_bundle: pki.controller.read_bytes(),
            made.server_certificate: pki.server.intermediate.pem(),
            made.server_key: encrypted_key(pki.server),
        }
    )
    return made


def encrypted_key(authority: Authority) -> bytes:
    """The key that signs, as it lies on a controller."""
    return authority.intermediate.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSPHRASE.encode()),
    )
