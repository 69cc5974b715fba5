# SPDX-License-Identifier: Apache-2.0
"""Secrets do not get out of texts that are shown."""

from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.balancer import redact

_KEY = """-----BEGIN RSA PRIVATE KEY-----
MIIEpAIBAAKCAQEAsecretsecret
-----END RSA PRIVATE KEY-----
"""


def test_redact_cuts_private_keys_and_leaves_certificates() -> None:
    """A key goes, also one whose end is missing; a certificate stays."""
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    assert redact.text(certificate + _KEY) == f"{certificate}{redact.HIDDEN}\n"
    cut = _KEY.replace("-----END RSA PRIVATE KEY-----\n", "")
    assert "secretsecret" not in redact.text(certificate + cut)
    for kind in ("PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"):
        assert "secretsecret" not in redact.text(_KEY.replace("RSA PRIVATE KEY", kind))


def test_redact_cuts_passwords_by_the_words_before_them() -> None:
    """Passwords of keepalived and the key of heartbeats go; the lines beside them stay."""
    text = "auth_type PASS\n    auth_pass ee46125\nheartbeat_key = a b$c\nheartbeat_interval = 10\n"
    assert redact.text(text) == (
        f"auth_type PASS\n    auth_pass {redact.HIDDEN}\n"
        f"heartbeat_key = {redact.HIDDEN}\nheartbeat_interval = 10\n"
    )


@given(st.text(), st.text(min_size=4), st.text())
def test_redact_cuts_values_wherever_they_stand(before: str, secret: str, after: str) -> None:
    """A value that was named as a secret is nowhere in what is left."""
    shown = redact.text(f"{before}{secret}{after}", [secret])
    assert secret not in shown.replace(redact.HIDDEN, "") or secret in redact.HIDDEN


def test_redact_leaves_short_values() -> None:
    """A value that stands in every second word would make the text useless."""
    assert redact.text("a table", ["a"]) == "a table"
