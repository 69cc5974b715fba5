# SPDX-License-Identifier: Apache-2.0
"""A client of a listener that terminates TLS; whose certificate it is does not matter."""

import http.client
import ssl
from ipaddress import IPv4Address

from tests.support.netns import Namespace

_DEADLINE_S = 30


def fetch_tls(inside: Namespace, address: IPv4Address, port: int) -> tuple[str, bytes]:
    """Ask once; the text of the answer, and the certificate in DER.

    Raises:
        OSError: nobody answered.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        str(address), port, timeout=_DEADLINE_S, context=context
    )
    try:
        with inside.entered():
            connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        certificate = connection.sock.getpeercert(binary_form=True) or b""
        connection.request("GET", "/")
        return connection.getresponse().read().decode(), certificate
    finally:
        connection.close()
