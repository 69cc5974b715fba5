# SPDX-License-Identifier: Apache-2.0
"""Octavia's own signer of amphora certificates, as one process for one certificate.

Started as `python -m tests.support.octavia_signer CERTIFICATE KEY PASSPHRASE AMPHORA_ID` by the
interpreter of Octavia's virtual environment; prints what Octavia would inject as server.pem.
"""
# Octavia is not installed where types are checked.
# mypy: disable-error-code="import-not-found"

import sys

from octavia.certificates.generator import local
from octavia.common import config


def main(certificate: str, key: str, passphrase: str, amphora_id: str) -> None:
    """Sign a certificate for one amphora, valid for a day."""
    config.init(["--config-file", "/dev/null"])
    options = config.cfg.CONF
    options.set_override("ca_certificate", certificate, "certificates")
    options.set_override("ca_private_key", key, "certificates")
    options.set_override("ca_private_key_passphrase", passphrase, "certificates")
    issued = local.LocalCertGenerator.generate_cert_key_pair(cn=amphora_id, validity=86400)
    sys.stdout.buffer.write(issued.certificate + issued.private_key)


if __name__ == "__main__":
    main(*sys.argv[1:])
