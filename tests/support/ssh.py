# SPDX-License-Identifier: Apache-2.0
"""A look inside the amphora with the key pair that Nova injected."""

import os
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.netns import Namespace

_DEADLINE_S = 120


class RemoteError(RuntimeError):
    """A command failed in the amphora, or the amphora was not reachable (status 255)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPair:
    """A private key file and the public key in OpenSSH's one-line form."""

    private: Path
    public: str


def create_key_pair(directory: Path) -> KeyPair:
    """Make a key pair like Octavia's octavia_ssh_key: RSA with 2048 bits."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = directory / "octavia_ssh_key"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
        )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return KeyPair(private=path, public=f"{public.decode()} octavia_ssh_key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shell:
    """Runs commands as root in the amphora."""

    inside: Namespace
    address: IPv4Address
    key: Path

    def run(self, command: str, *, stdin: bytes = b"") -> str:
        """Standard output of a shell command.

        Raises:
            RemoteError: it failed; the message holds its standard error.
        """
        argv = self.inside.command(
            "ssh", "-i", str(self.key), "-F", "none", "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30",
            f"root@{self.address}", command,
        )  # fmt: skip
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, timeout=_DEADLINE_S, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise RemoteError(f"{command}: no answer within {_DEADLINE_S} s") from exc
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise RemoteError(f"{command}: status {done.returncode}: {said}")
        return done.stdout.decode(errors="replace")
