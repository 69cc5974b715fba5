# SPDX-License-Identifier: Apache-2.0
"""Files that a configuration takes in, and PEM in commands and answers."""

import hashlib
import ssl
import uuid

import pytest

from amphora_agent import haproxycfg, haproxyfiles
from amphora_agent.haproxyfiles import Kind, Slot
from tests.support import pki

CONFIG = """frontend f
    bind 192.0.2.9:443 ssl crt-list /c/l.pem ca-file /c/ca.pem crl-file /c/crl.pem
    acl x path crt /not/a/file
backend b
    server s 192.0.2.1:443 ssl crt /c/s.pem ca-file /c/ca2.pem
    server t 192.0.2.1:80 weight 1 crt
"""


def test_files_of_a_configuration_are_found() -> None:
    """Paths stand after certain words of bind and server lines, and in lists."""
    sections = haproxycfg.sections(CONFIG)
    assert haproxyfiles.list_paths(sections) == {"/c/l.pem"}
    lists = {"/c/l.pem": "/c/1.pem\n\n# c\n/c/2.pem [alpn h2] *.example\n"}
    assert list(haproxyfiles.slots(sections, lists)) == [
        Slot(kind=Kind.CA, path="/c/ca.pem"),
        Slot(kind=Kind.CRL, path="/c/crl.pem"),
        Slot(kind=Kind.CERTIFICATE, path="/c/s.pem"),
        Slot(kind=Kind.CA, path="/c/ca2.pem"),
        Slot(kind=Kind.CERTIFICATE, path="/c/1.pem"),
        Slot(kind=Kind.CERTIFICATE, path="/c/2.pem"),
    ]


def test_files_list_comes_back() -> None:
    """A list written out has the same entries."""
    entries = [("/c/1.pem", ""), ("/c/2.pem", "[alpn h2] *.example")]
    assert haproxyfiles.list_lines(haproxyfiles.write_list(entries)) == entries


def test_files_configuration_written_out_means_the_same() -> None:
    """Quotes come back where they are needed."""
    sections = haproxycfg.sections(CONFIG + "    log-format 'a  b # c'\n")
    assert haproxycfg.sections(haproxyfiles.write(sections)) == sections


def test_files_pem_blocks_leave_out_the_rest(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Blank lines, comments and CRLF around and in PEM blocks do not reach a command."""
    pem = pki.create(tmp_path_factory.mktemp("pki")).amphora_pem(uuid.uuid4())
    plain = haproxyfiles.pem_blocks(pem)
    assert "" not in plain.splitlines()
    odd = b"Bag Attributes; x\n\n" + pem.replace(b"\n", b"\r\n") + b"\n\nend \xff\n"
    assert haproxyfiles.pem_blocks(odd) == plain
    first = plain[: plain.index("-----END CERTIFICATE-----\n") + 26]
    first = first[first.index("-----BEGIN CERTIFICATE-----") :]
    der = ssl.PEM_cert_to_DER_cert(first)
    digest = hashlib.sha1(der).hexdigest().upper()
    assert digest in haproxyfiles.fingerprints(plain)
    answer = f"Filename: /c/1.pem\nStatus: Used\nSHA1 FingerPrint: {digest}\nSubject: /CN=x\n"
    assert haproxyfiles.shown_fingerprints(answer) == [digest]


@pytest.mark.parametrize("content", [b"", b"worthless\n", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_files_without_pem_have_no_blocks(content: bytes) -> None:
    """Nothing that is not a whole block comes into a command."""
    assert haproxyfiles.pem_blocks(content) == ""
    assert haproxyfiles.fingerprints("") == []
