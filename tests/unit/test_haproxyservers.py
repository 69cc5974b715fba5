# SPDX-License-Identifier: Apache-2.0
"""Servers in a configuration, in a worker, and in the file between two workers."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent import haproxycfg, haproxyservers
from amphora_agent.errors import ParseError
from amphora_agent.haproxycfg import Directive
from amphora_agent.haproxyservers import Server, State

# Of HAProxy 2.6.12: m1 was moved and drained, m2 is forced into maintenance, m3 disabled by its
# configuration and then made ready, m4 was added.
STATES = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl \
srv_check_port srv_check_addr srv_agent_addr srv_agent_port
3 p:l 1 m1 127.0.0.2 0 0 0 1 1 8 2 0 6 0 0 0 - 18091 - 0 0 - - 0
3 p:l 2 m2 127.0.0.1 0 1 1 1 1 1 0 0 8 0 0 0 - 18082 - 0 0 - - 0
3 p:l 3 m3 127.0.0.1 2 4 3 3 0 1 0 0 8 0 0 0 - 18083 - 0 0 - - 0
3 p:l 4 m4 127.0.0.1 2 0 7 7 0 1 0 2 6 0 0 0 - 18084 - 0 0 - - 0
"""


def configured(*lines: str) -> dict[haproxyservers.Key, Server | None]:
    """The servers of a backend with these lines."""
    text = "backend p:l\n" + "".join(f" server {line}\n" for line in lines)
    return haproxyservers.configured(haproxycfg.sections(text))


SAME = configured(
    "m1 127.0.0.2:18091 weight 0",
    "m2 127.0.0.1:18082 disabled",
    "m3 127.0.0.1:18083 weight 3",
    "m4 127.0.0.1:18084 weight 7",
)


def test_server_line_is_taken_apart() -> None:
    """Weight and admin state are told apart from the rest, also where a value looks like them."""
    [server] = configured("m [2001:db8::1]:80 check sni weight weight 5 alpn disabled").values()
    assert server == Server(
        name="m",
        address=(ip_address("2001:db8::1"), 80),
        weight=5,
        disabled=False,
        parameters=(("check", ""), ("sni", "weight"), ("alpn", "disabled")),
    )


@pytest.mark.parametrize(
    "line", ["m 192.0.2.1:80 frobnicate", "m 192.0.2.1:80 weight x", "m x inter"]
)
def test_server_line_with_unknown_words_is_not_understood(line: str) -> None:
    """A word that is not known might take the next one as its value."""
    assert list(configured(line).values()) == [None]


@pytest.mark.parametrize(
    "address", ["member.example:80", "/run/x.sock", "192.0.2.1", "192.0.2.1:+1"]
)
def test_server_address_that_is_none(address: str) -> None:
    """Names, sockets and mapped ports are no address."""
    [server] = configured(f"m {address}").values()
    assert server is not None
    assert server.address is None


def test_server_states_are_read() -> None:
    """Maintenance is what somebody forced or a configuration still forces."""
    found = haproxyservers.states(STATES)
    assert found["p:l", "m1"] == State(
        address="127.0.0.2", port=18091, weight=0, in_maintenance=False
    )
    maintained = {name for (_backend, name), state in found.items() if state.in_maintenance}
    assert maintained == {"m2"}
    assert haproxyservers.difference(SAME, found) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("m1 127.0.0.2:18091 weight 1", "p:l/m1 has weight 0"),
        ("m1 127.0.0.2:18092 weight 0", "p:l/m1 has address 127.0.0.2 port 18091"),
        ("m1 127.0.0.2:18091 weight 0 disabled", "p:l/m1 is not in maintenance"),
        ("m2 127.0.0.1:18082", "p:l/m2 is in maintenance"),
        ("m9 127.0.0.1:18082", "p:l/m9 is missing"),
    ],
)
def test_server_difference_is_told(line: str, expected: str) -> None:
    """Every way in which a worker's server is not the configured one has words."""
    fault = haproxyservers.difference(SAME | configured(line), haproxyservers.states(STATES))
    assert fault is not None
    assert expected in fault


def test_server_that_should_be_gone_is_told() -> None:
    """A server too many is a difference; one of a backend that haproxy made itself is none."""
    servers = {key: server for key, server in SAME.items() if key[1] != "m4"}
    found = haproxyservers.states(STATES)
    assert haproxyservers.difference(servers, found) == "server p:l/m4 is still there"
    own = State(address="127.0.0.1", port=1, weight=1, in_maintenance=False)
    assert haproxyservers.difference(SAME, found | {("<HTTPCLIENT>", "x"): own}) is None


def test_kept_state_lets_the_configuration_win() -> None:
    """Weights are the configuration's, nothing is forced, and health is what it was."""
    new = configured("m1 127.0.0.2:18091 weight 5", "m3 127.0.0.1:18083")
    first, header, *rows = haproxyservers.kept_state(STATES, new).splitlines()
    assert (first, header) == tuple(STATES.splitlines()[:2])
    assert rows == [
        "3 p:l 1 m1 127.0.0.2 0 0 5 5 1 8 2 0 6 0 0 0 - 18091 - 0 0 - - 0",
        "3 p:l 3 m3 127.0.0.1 2 0 1 1 0 1 0 0 8 0 0 0 - 18083 - 0 0 - - 0",
    ]


@pytest.mark.parametrize(
    "line", ["m1 127.0.0.2:18092", "m1 127.0.0.3:18091", "m1 127.0.0.2:18091 disabled", "m1 x:1"]
)
def test_kept_state_forgets_servers_that_are_others_now(line: str) -> None:
    """What checks found at another address, or before a maintenance, is not kept."""
    assert len(haproxyservers.kept_state(STATES, configured(line)).splitlines()) == 2


def test_kept_state_forgets_servers_in_maintenance() -> None:
    """A server that was in maintenance begins anew: haproxy would call it down for good."""
    assert (
        len(haproxyservers.kept_state(STATES, configured("m2 127.0.0.1:18082")).splitlines()) == 2
    )


@pytest.mark.parametrize(
    "text",
    ["", "2\n# a b\n", "1\nbe_id\n", "1\n# be_name srv_name\np:l\n", STATES.replace("18091", "x")],
)
def test_server_states_of_another_format_are_refused(text: str) -> None:
    """A cut or foreign answer is an error, never fewer servers."""
    with pytest.raises(ParseError):
        haproxyservers.states(text)


@given(st.lists(st.text(max_size=8), max_size=8))
def test_server_line_of_anything_is_understood_or_not(words: list[str]) -> None:
    """No words of a server line make it fail."""
    haproxyservers.parse_line(Directive(words=("server", *words)))
