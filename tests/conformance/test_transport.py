# SPDX-License-Identifier: Apache-2.0
"""HTTP as the wire contract's chapter 1.1 has it, and what is said to confuse servers."""

import contextlib
import http.client

import pytest

from tests.conformance.target import LB, LISTENER, Target

_CERTIFICATE = f"/1.0/loadbalancer/{LB}/certificates/{'b2' * 20}.pem"


def say(target: Target, request_line: str, headers: bytes = b"", body: bytes = b"") -> bytes:
    """Everything that is answered to bytes that no HTTP library would send."""
    head = f"{request_line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".encode()
    with target.connect(identity=target.controller) as session:
        session.sendall(head + headers + b"\r\n" + body)
        with session.makefile("rb") as stream:
            return stream.read()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/1.0/config"),
        ("PUT", "/1.0/certificate"),
        ("PUT", "/1.0/vrrp/upload"),
        ("PUT", "/1.0/vrrp/stop"),
        ("POST", "/1.0/plug/vip/192.0.2.1"),
        ("POST", "/1.0/plug/network"),
        ("PUT", f"/1.0/listeners/{LB}/{LISTENER}/udp_listener"),
        ("PUT", f"/1.0/loadbalancer/{LB}/{LB}/haproxy"),
        ("PUT", f"/1.0/loadbalancer/{LB}/start"),
        ("PUT", _CERTIFICATE),
        ("DELETE", _CERTIFICATE),
        ("DELETE", f"/1.0/listeners/{LB}"),
        ("PUT", "/1.0/interface/192.0.2.1/rules"),
        ("GET", "/1.0/info"),
        ("PUT", f"/0.5/listeners/{LB}/{LB}/haproxy"),
    ],
)
def test_1_1_body_over_the_limit_is_400_on_every_route(
    target: Target, method: str, path: str
) -> None:
    """One byte over 16 MiB is 400 by its length alone, also where no body is read."""
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {16 * 2**20 + 1}\r\n\r\n"
    with contextlib.closing(target.connect(identity=target.controller)) as session:
        session.sendall(head.encode())
        # Not to the end of the stream: the agent waits a while for the body, to throw it away.
        response = http.client.HTTPResponse(session)
        response.begin()
        assert (response.status, response.headers["Content-Type"]) == (400, "application/json")


@pytest.mark.parametrize(
    "path", ["https://127.0.0.1:9443/1.0/info", "/1.0/info?a=b", "/%31.0/info", "//1.0/info"]
)
def test_1_1_other_ways_to_write_a_path(target: Target, path: str) -> None:
    """An absolute URL, a query and escaped letters name the same resource."""
    said = say(target, f"GET {path}")
    assert said.startswith(b"HTTP/1.1 200 "), said
    assert b'"haproxy_version":' in said


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /./1.0/info",
        "GET /1.0/../1.0/info",
        "GET /1.0/info%00",
        "OPTIONS *",
        "CONNECT 192.0.2.1:80",
        "GET /1.0/loadbalancer/..%2f..%2fetc/haproxy",
        f"GET /1.0/loadbalancer/{LB}%2f..%2f{LB}/haproxy",
        f"GET /1.0/loadbalancer/{LB}/certificates/..%2f..%2fagent.pem",
        f"DELETE /1.0/listeners/{LB}%2f..",
    ],
)
def test_1_1_paths_are_never_walked(target: Target, request_line: str) -> None:
    """Dots and escaped slashes do not lead anywhere: they are 404 in JSON."""
    said = say(target, request_line)
    assert said.startswith(b"HTTP/1.1 404 "), said
    assert b"\r\nContent-Type: application/json\r\n" in said


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: \xb2\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
    ],
)
def test_1_1_body_whose_end_is_ambiguous_is_refused(target: Target, headers: bytes) -> None:
    """Two lengths, or a length beside chunks, is one 400, and what follows is no request."""
    said = say(target, f"PUT {_CERTIFICATE}", headers, b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 "), said
    assert said.count(b"HTTP/1.1 ") == 1
    assert target.ask("GET", _CERTIFICATE).status == 404


def test_1_1_head_and_options_change_nothing(target: Target) -> None:
    """HEAD is GET without the body; OPTIONS tells the methods and runs none of them."""
    said = say(target, "HEAD /1.0/info")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(b"\r\n\r\n")
    said = say(target, f"OPTIONS {_CERTIFICATE}")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"DELETE" in said
    assert target.ask("GET", _CERTIFICATE).status == 404


@pytest.mark.usefixtures("no_lb")
def test_1_1_expectation_is_met_at_once(target: Target) -> None:
    """A client that waits to be asked for its body is asked, and then answered."""
    with contextlib.closing(target.connect(identity=target.controller)) as session:
        session.sendall(
            f"PUT {_CERTIFICATE} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n".encode()
            + b"Expect: 100-continue\r\n\r\n"
        )
        assert session.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        session.sendall(b"four")
        assert session.recv(12) == b"HTTP/1.1 200"


@pytest.mark.usefixtures("no_lb")
def test_1_1_requests_in_a_row_are_answered_in_order(target: Target) -> None:
    """An upload and a question about it, sent in one go, are answered one after the other."""
    with contextlib.closing(target.connect(identity=target.controller)) as session:
        session.sendall(
            f"PUT {_CERTIFICATE} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfour".encode()
            + f"GET {_CERTIFICATE} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
        )
        with session.makefile("rb") as stream:
            said = stream.read()
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert said.endswith(b'{"md5sum":"8cbad96aced40b3838dd9f07f6ef5772"}')


@pytest.mark.parametrize("length", [0, 16 * 2**20 + 1])
def test_1_1_clients_that_vanish_harm_nobody_else(target: Target, length: int) -> None:
    """After answers that nobody took, bodies that are awaited in the same threads arrive whole."""
    head = f"GET /1.0/info HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()
    for _ in range(20):
        with contextlib.closing(target.connect(identity=target.controller)) as session:
            session.sendall(head)
            # Whatever has come by then is not read to its end, so that the kernel resets.
            session.recv(1)
    for _ in range(5):
        answer = target.ask("PUT", _CERTIFICATE, bytes(16 * 2**20 + 1))
        assert answer.status == 400, answer
        assert target.ask("GET", "/1.0/info").status == 200
