# SPDX-License-Identifier: Apache-2.0
"""Repairs of the file by which Octavia has logs sent away; rsyslog itself judges elsewhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent import offload

RULESET = 'ruleset(name="r" queue.type="linkedList" queue.size="9") {\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local1.* call admin_forwarding*.* stop", "local1.* call admin_forwarding\n*.* stop"),
        (
            "local1.*   call\tr2*.*;local0.none call s",
            "local1.*   call\tr2\n*.*;local0.none call s",
        ),
        ('  target="[2001:db8::1]"', '  target="2001:db8::1"'),
        ('TARGET = "[::1]"', 'TARGET = "::1"'),
        (RULESET, RULESET.replace('"9"', '"9" queue.timeoutEnqueue="0"')),
        ("target=&#34;192.0.2.1&#34;", 'target="192.0.2.1"'),
        ("target=&#34;[::1]&#34;", 'target="::1"'),
    ],
)
def test_fault_is_repaired_and_told(text: str, expected: str) -> None:
    """What has one meaning only comes out so, with a word for every repair."""
    found = offload.repaired(text)

    assert found.text == expected
    assert found.repairs


@pytest.mark.parametrize(
    "text",
    [
        "",
        "local1.* call admin_forwarding\n*.* stop\n",
        "*.* stop",
        'target="192.0.2.1"',
        'target="[loghost]"',
        'ruleset(name="r") {',
        RULESET.replace("queue.size", "queue.timeoutEnqueue"),
        'local0.* action(type="omfile" file="/var/log/call x*.log")'.replace("x*", "x"),
        'template(name="t" type="string" string="%msg% & more")',
    ],
)
def test_what_is_right_or_doubtful_stays(text: str) -> None:
    """No other text is changed."""
    assert offload.repaired(text) == offload.Repaired(text=text, repairs=())


@given(st.text("callr *.\n\"'[]:()&#34;ab{}=", max_size=60))
def test_repair_is_done_once(text: str) -> None:
    """What was repaired needs no repair."""
    once = offload.repaired(text).text

    assert offload.repaired(once) == offload.Repaired(text=once, repairs=())
