# SPDX-License-Identifier: Apache-2.0
"""What is done by commands and what by a reload."""

from collections.abc import Mapping

import pytest

from amphora_agent import hitless
from amphora_agent.haproxyfiles import File, Loaded
from amphora_agent.hitless import Commands, Reload

VERSION = (2, 6)
CONFIG = """
global
    maxconn 100
    tune.ssl.cachesize 1000
frontend f
    bind 192.0.2.9:443 ssl crt-list /c/l.pem ca-file /c/ca.pem verify optional
    default_backend p:l
backend p:l
    balance roundrobin
    server a 192.0.2.1:80 weight 1 check inter 5s
    server b 192.0.2.2:80 weight 2 check inter 5s
"""
LISTS = {"/c/l.pem": "/c/1.pem\n/c/2.pem\n"}


def loaded(config: str = CONFIG, lists: Mapping[str, str] = LISTS, **contents: str) -> Loaded:
    """A configuration with files `/c/<name>.pem`, each with the content of the same name at first.

    Args:
        contents: other contents, by names with a `_` before them.
    """
    texts = {name: name for name in ("1", "2", "3", "ca", "ca2")}
    texts |= {name.removeprefix("_"): content for name, content in contents.items()}
    files = {
        f"/c/{name}.pem": File(digest=content, size_bytes=len(content))
        for name, content in texts.items()
    }
    return Loaded(config=config, lists=lists, files=files)


def commands(new: Loaded, running: Loaded | None = None) -> list[str]:
    """The texts of the steps from one to the other, which must not need a reload."""
    plan = hitless.plan(running or loaded(), new, VERSION)
    assert isinstance(plan, Commands), plan
    return [step.text for step in plan.steps]


def reason(new: Loaded, running: Loaded | None = None, version: tuple[int, int] = VERSION) -> str:
    """Why it needs a reload, which it must."""
    plan = hitless.plan(running or loaded(), new, version)
    assert isinstance(plan, Reload), plan
    return plan.reason


def changed(old: str, new: str) -> Loaded:
    """The configuration with another text in one place."""
    assert old in CONFIG
    return loaded(CONFIG.replace(old, new))


def test_hitless_same_meaning_needs_nothing() -> None:
    """Comments, quotes, blank lines and the order of servers are no change."""
    lines = CONFIG.replace("maxconn 100", "'maxconn'  100 # c").splitlines()
    lines[-2:] = reversed(lines[-2:])
    assert commands(loaded("# c\n" + "\n".join(lines))) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("weight 1 ", "weight 0 ", ["set server p:l/a weight 0"]),
        ("weight 1 ", "", []),
        ("weight 2 ", "", ["set server p:l/b weight 1"]),
        ("weight 1 check inter 5s", "weight 1 check inter 5s disabled",
         ["set server p:l/a state maint"]),
        ("192.0.2.1:80", "192.0.2.7:81", ["set server p:l/a addr 192.0.2.7 port 81"]),
        ("192.0.2.1:80", "[2001:db8::1]:81", ["set server p:l/a addr 2001:db8::1 port 81"]),
        ("    server a 192.0.2.1:80 weight 1 check inter 5s\n", "",
         ["set server p:l/a state maint", "del server p:l/a"]),
        ("backend p:l\n    balance roundrobin\n",
         "backend p:l\n    balance roundrobin\n    server c 192.0.2.3:80 weight 3 check inter 5s\n",
         ["add server p:l/c 192.0.2.3:80 weight 3 check inter 5s", "enable health p:l/c",
          "enable server p:l/c"]),
        ("backend p:l\n    balance roundrobin\n",
         "backend p:l\n    balance roundrobin\n    server c 192.0.2.3:80 disabled\n",
         ["add server p:l/c 192.0.2.3:80"]),
        ("server a", "server z",
         ["add server p:l/z 192.0.2.1:80 weight 1 check inter 5s", "enable health p:l/z",
          "enable server p:l/z", "set server p:l/a state maint", "del server p:l/a"]),
        ("cachesize 1000", "cachesize 2000", []),
    ],
)  # fmt: skip
def test_hitless_commands(old: str, new: str, expected: list[str]) -> None:
    """What haproxy can change while it runs comes as exactly these commands."""
    assert commands(changed(old, new)) == expected


def test_hitless_server_comes_before_another_goes() -> None:
    """Weights rise and servers come back before others drain, so that one is always there."""
    running = loaded(CONFIG.replace("weight 2 ", "weight 0 disabled "))
    new = loaded(CONFIG.replace("weight 1 ", "weight 0 disabled "))
    assert commands(new, running) == [
        "set server p:l/b weight 2",
        "set server p:l/b state ready",
        "set server p:l/a weight 0",
        "set server p:l/a state maint",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("maxconn 100", "maxconn 101", "global: `maxconn` changes"),
        ("frontend f", "frontend g", "frontend g is new"),
        ("inter 5s\n    server b", "inter 6s\n    server b", "server p:l/a has other parameters"),
        ("192.0.2.1:80", "member.example:80", "server p:l/a has an address by name"),
        ("    default_backend p:l\n", "", "frontend f has other directives"),
        ("verify optional", "verify required", "frontend f: `bind` changes"),
        ("weight 1 check", "weight 1 frobnicate check", "server p:l/a has other parameters"),
        ("maxconn 100", 'maxconn "$N"', "`maxconn` depends on the environment"),
        ("maxconn 100", "maxconn 100\n.if true", "`.if` is a condition"),
        ("maxconn 100", "maxconn 100\n    lua-load /x", "`lua-load` takes in other files"),
        ("server b", "server a", "backend p:l has two servers of one name"),
        ("maxconn 100", "maxconn 'x", "the configuration cannot be read"),
        ("server a", "server 'a;b'", "'p:l/a;b' cannot stand in a command"),
        ("server a 192.0.2.1:80", "server z 192.0.2.1:80 ssl verify none",
         "server p:l/z is new and has `ssl`"),
    ],
)  # fmt: skip
def test_hitless_reload(old: str, new: str, expected: str) -> None:
    """What haproxy cannot change while it runs, or might not, needs a reload, with its reason."""
    assert expected in reason(changed(old, new))


@pytest.mark.parametrize(
    "directive",
    ["cookie SRV insert", "stick on src", "stick-table type ip size 1", "option external-check"],
)
def test_hitless_servers_of_special_backends_are_not_exchanged(directive: str) -> None:
    """Beside persistence and external checks a server is not added, but its weight is changed."""
    special = CONFIG.replace("roundrobin\n", f"roundrobin\n    {directive}\n")
    added = special + "    server c 192.0.2.3:80\n"
    assert "server p:l/c is new beside" in reason(loaded(added), loaded(special))
    weighed = special.replace("weight 1 ", "weight 3 ")
    assert commands(loaded(weighed), loaded(special)) == ["set server p:l/a weight 3"]


def test_hitless_static_balance_needs_a_reload() -> None:
    """Weights, new servers and another order need a reload where they would move all clients."""
    static = CONFIG.replace("roundrobin", "source")
    lines = static.splitlines()
    lines[-2:] = reversed(lines[-2:])
    for other in (static.replace("weight 1 ", "weight 3 "), "\n".join(lines)):
        assert "does not balance dynamically" in reason(loaded(other), loaded(static))
    maintained = static.replace("weight 1 ", "weight 1 disabled ")
    assert commands(loaded(maintained), loaded(static)) == ["set server p:l/a state maint"]


def test_hitless_default_server_needs_a_reload() -> None:
    """Where a server's settings may come from elsewhere, none is changed by a command."""
    special = CONFIG.replace("roundrobin\n", "roundrobin\n    default-server weight 9\n")
    other = special.replace("weight 1 ", "weight 3 ")
    assert "beside a `default-server`" in reason(loaded(other), loaded(special))


def test_hitless_old_haproxy_adds_no_server() -> None:
    """Before 2.6 adding a server was an experiment."""
    new = loaded(CONFIG + "    server c 192.0.2.3:80\n")
    assert "too old" in reason(new, version=(2, 5))
    assert isinstance(hitless.plan(loaded(), new, (2, 6)), Commands)


def test_hitless_new_content_of_files() -> None:
    """A certificate and a CA file with new content are set and committed."""
    assert commands(loaded(_1="new", _ca="new")) == [
        "set ssl ca-file /c/ca.pem",
        "commit ssl ca-file /c/ca.pem",
        "set ssl cert /c/1.pem",
        "commit ssl cert /c/1.pem",
    ]


def test_hitless_renamed_certificate_keeps_the_workers_name() -> None:
    """A certificate in the place of another is set under the name that the worker knows."""
    running = loaded()
    new = loaded(lists={"/c/l.pem": "/c/3.pem\n/c/2.pem\n"})
    plan = hitless.plan(running, new, VERSION)
    assert isinstance(plan, Commands)
    assert [(step.text, step.payload) for step in plan.steps] == [
        ("set ssl cert /c/1.pem", "/c/3.pem"),
        ("commit ssl cert /c/1.pem", ""),
    ]
    assert plan.result.lists == LISTS
    # The next time there is nothing to do, and after a change the same name is meant again.
    assert commands(new, plan.result) == []
    back = loaded(lists={"/c/l.pem": "/c/1.pem\n/c/2.pem\n"})
    assert commands(back, plan.result) == ["set ssl cert /c/1.pem", "commit ssl cert /c/1.pem"]


def test_hitless_ca_under_a_new_name() -> None:
    """The same holds for the CA of a listener, whose name stands in the configuration."""
    new = changed("/c/ca.pem", "/c/ca2.pem")
    assert commands(new) == ["set ssl ca-file /c/ca.pem", "commit ssl ca-file /c/ca.pem"]


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ("/c/1.pem\n", "lists other certificates"),
        ("/c/1.pem\n/c/2.pem\n/c/3.pem\n", "lists other certificates"),
        ("/c/1.pem *.example\n/c/2.pem\n", "lists other certificates"),
        ("/c/none.pem\n/c/2.pem\n", "/c/none.pem cannot be read"),
    ],
)
def test_hitless_other_lists_need_a_reload(lists: str, expected: str) -> None:
    """A certificate more or less, or with other filters, needs a reload."""
    assert expected in reason(loaded(lists={"/c/l.pem": lists}))


def test_hitless_one_name_for_two_contents_needs_a_reload() -> None:
    """A file that becomes different ones in two places cannot keep its name."""
    running = loaded(lists={"/c/l.pem": "/c/1.pem\n/c/1.pem\n"})
    new = loaded(lists={"/c/l.pem": "/c/1.pem\n/c/3.pem\n"})
    assert "/c/1.pem becomes two different files" in reason(new, running)


def test_hitless_large_file_needs_a_reload() -> None:
    """haproxy does not answer to a command that is longer than its buffer."""
    assert "too large" in reason(loaded(_1="x" * (hitless.PAYLOAD_MAX_BYTES + 1)))
    assert commands(loaded(_1="x" * hitless.PAYLOAD_MAX_BYTES))


@pytest.mark.parametrize(
    ("old", "new"), [("weight 1 ", "weight 256 "), ("weight 2 ", "weight 0 disabled ")]
)
def test_hitless_weight_needs_no_check(old: str, new: str) -> None:
    """A configuration that differs in weights and admin states is good if the other one is."""
    assert hitless.needs_no_check(CONFIG, CONFIG.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("weight 1 ", "weight 257 "),
        ("weight 1 ", "weight -1 "),
        ("weight 1 ", "weight "),
        ("weight 1 ", "weight 1  "),
        ("weight 1 ", 'weight "2" '),
        ("weight 1 ", "weight 2 backup "),
        ("192.0.2.1:80", "192.0.2.3:80"),
        ("server a", "server b"),
        ("maxconn 100", "maxconn 101"),
        ("global\n", "global\n\n"),
        ("check inter 5s\n    server b", "check inter 5s\r\n    server b"),
        ("inter 5s\n", "inter 5s"),
    ],
)
def test_hitless_all_else_needs_a_check(old: str, new: str) -> None:
    """Whatever else differs, haproxy itself has to look at."""
    assert old in CONFIG
    assert not hitless.needs_no_check(CONFIG, CONFIG.replace(old, new))
