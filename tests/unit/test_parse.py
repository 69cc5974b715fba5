# SPDX-License-Identifier: Apache-2.0
"""Texts of other programs."""

import pytest

from amphora_agent import parse
from amphora_agent.errors import ParseError

CONFIG = """\
# a comment with group x
global
    daemon
    user nobody
    group nogroup
    log /run/rsyslog/octavia/log local0

defaults
    log global

frontend 11111111-1111-4111-8111-111111111111
    mode http
    bind 203.0.113.9:443 ssl crt-list /var/lib/octavia/certs/lb/listener.pem
    log-format my\\ group\\ x
    http-request set-header X-Group group one

frontend 22222222-2222-4222-8222-222222222222
    bind 203.0.113.9:80
"""


def test_without_group_drops_only_the_global_one() -> None:
    """`group` vanishes from the global section; the word elsewhere stays."""
    kept = parse.without_group(CONFIG)
    assert "group nogroup" not in kept
    assert kept == CONFIG.replace("    group nogroup\n", "")


def test_without_group_keeps_other_text_as_it_is() -> None:
    """A configuration without `group` is not changed, down to its line ends."""
    text = "global\r\n\tuser nobody\n\ndefaults\n    # é"
    assert parse.without_group(text) == text


def test_frontends_are_listed_with_mode_and_tls() -> None:
    """Each frontend has its mode, tcp by default, and whether it terminates TLS."""
    first, second = parse.frontends(CONFIG)
    assert (first.mode, first.terminates_tls) == ("http", True)
    assert (second.mode, second.terminates_tls) == ("tcp", False)


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("HAProxy version 3.0.11-1+deb13u1 2025/07/03 - https://haproxy.org/", "3.0.11-1+deb13u1"),
        ("HA-Proxy version 2.0.33-0ubuntu0.1 2023/10/31", "2.0.33-0ubuntu0.1"),
        ("Keepalived v2.2.7 (01/16,2022)", "2.2.7"),
        ("ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)", "1.31"),
    ],
)
def test_program_version_begins_with_two_numbers(output: str, version: str) -> None:
    """The version has no `v` and no epoch before its first two numbers."""
    assert parse.program_version(output) == version


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("2.3.3", (2, 3)), ("2.10", (2, 10)), ("3.0.11-1+deb13u1", (3, 0)), ("2.2rc1", (2, 2))],
)
def test_version_numbers_are_compared_as_numbers(version: str, numbers: tuple[int, int]) -> None:
    """2.10 comes after 2.3, and what follows the second number does not matter."""
    assert parse.version_numbers(version) == numbers


def test_program_version_of_something_else_is_an_error() -> None:
    """A text without a version is not taken for one."""
    with pytest.raises(ParseError):
        parse.program_version("command not found")


def test_net_dev_reads_bytes_in_and_out() -> None:
    """Received bytes are the first column, sent bytes the ninth, even when they touch the name."""
    text = (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n"
        "    lo:     100       1    0    0    0     0          0         0      100       1 0 0\n"
        "  eth1:11223344     9    0    0    0     0          0         0   556677      12 0 0\n"
    )
    assert parse.net_dev(text) == [("lo", 100, 100), ("eth1", 11223344, 556677)]


def test_net_dev_of_another_format_is_an_error() -> None:
    """A line with too few columns is refused, not guessed."""
    with pytest.raises(ParseError):
        parse.net_dev("head\nhead\neth1: 1 2 3\n")


def test_frontends_with_certificates_of_their_own_terminate_tls() -> None:
    """Controllers before Train name the certificate itself in the bind line."""
    text = "frontend a\n bind 192.0.2.1:443 ssl crt /certs/a.pem crt /certs\nfrontend b\n bind :80"
    assert [frontend.terminates_tls for frontend in parse.frontends(text)] == [True, False]


@pytest.mark.parametrize(
    "output",
    [
        "",
        "SECURITY VIOLATION - scripts are being executed but script_security not enabled.",
        "Disabling track script check_script since not found/accessible",
        "(4e43) Warning - nopreempt will not work with initial state MASTER - clearing",
        "(4e43) A unicast keyword has been specified without any unicast peers. This usage is"
        " deprecated - please update your configuration.",
        "(a.conf: Line 9) WARNING - interface eth1 for vrrp_instance 4e43 doesn't exist",
        "(a.conf: Line 9) The keyword 'x' is deprecated",
        "Virtual server [ipv4-group]:0 has no real servers - ignoring",
        "(a.conf: Line 18) Virtual server [ipv4-group]:0 has no real servers - ignoring",
        "(a.conf: Line 39) VRRP parsed invalid IP gateway. skipping IP...\n"
        "(a.conf: Line 39) unknown route keyword gateway",
    ],
)
def test_keepalived_faults_leave_advice_out(output: str) -> None:
    """What keepalived only advises does not make a configuration wrong."""
    assert parse.keepalived_faults(output) == []


@pytest.mark.parametrize(
    "output",
    [
        "(a.conf: Line 31) Unknown keyword 'nonsense'",
        "(Line 1) Unknown keyword 'garbage'",
        "There are 1 missing '}'s or extra '{'s",
        "Non-existent interface specified in configuration",
        "(a.conf: Line 39) unknown route keyword gatevia",
        "(a.conf: Line 12) (4e43) Priority not valid! must be between 1 & 255. Using default 100",
    ],
)
def test_keepalived_faults_are_found_among_advice(output: str) -> None:
    """Each fault is told once, in keepalived's words."""
    advice = "SECURITY VIOLATION - scripts are being executed but script_security not enabled."
    assert parse.keepalived_faults(f"{advice}\n{output}\n{output}") == [output]


CERTS = "/var/lib/octavia/certs/lb"


@pytest.mark.parametrize(
    ("config", "unused"),
    [
        ("", {"list.pem", "one.pem", "two.pem"}),
        (f"bind :443 ssl crt-list {CERTS}/list.pem", {"two.pem"}),
        (f'bind :443 ssl crt "{CERTS}/two.pem" ca-file {CERTS}/one.pem', {"list.pem"}),
        ("crt-base /var/lib/octavia/certs\nbind :443 ssl crt lb/two.pem", {"list.pem", "one.pem"}),
        (f"bind :443 ssl crt {CERTS}/two.pem crt {CERTS}", set()),
        (f"bind :443 ssl crt '{CERTS}/'", set()),
        (f"bind :443 ssl crt {CERTS}-other/two.pem", {"list.pem", "one.pem"}),
    ],
)
def test_unused_certificates_are_those_that_nothing_names(config: str, unused: set[str]) -> None:
    """A file is in use when the configuration or a list in use names it, or the directory."""
    stored = {"list.pem": f"{CERTS}/one.pem\n", "one.pem": "-----BEGIN", "two.pem": "-----BEGIN"}
    assert parse.unused_certificates(config, CERTS, stored) == unused
