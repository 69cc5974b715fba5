# SPDX-License-Identifier: Apache-2.0
"""Words, directives and sections of haproxy.cfg."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent import haproxycfg
from amphora_agent.errors import ParseError
from amphora_agent.haproxycfg import Directive

# What a line can hold; the letters that mean something come often.
HOSTILE = st.text(
    st.one_of(
        st.sampled_from(" \t\v\f\r\n\\#'\"$x0{}"),
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    ),
    max_size=20,
)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ()),
        ("  # only a comment", ()),
        ("server a 192.0.2.1:80 weight 1", ("server", "a", "192.0.2.1:80", "weight", "1")),
        ("\tmode\thttp  ", ("mode", "http")),
        ("mode http# glued", ("mode", "http")),
        (r"path /a\ b\#c\\d", ("path", "/a b#c\\d")),
        (r"path \1\d", ("path", r"\1\d")),
        (r"say \n\r\t\x41", ("say", "\n\r\tA")),
        (r"""say 'a "b" \n # c'""", ("say", r'a "b" \n # c')),
        (r'''say "a 'b' \" \n # c"''', ("say", "a 'b' \" \n # c")),
        (r"say \'a\"", ("say", "'a\"")),
        ("say '' \"\"", ("say", "", "")),
        ("say a'b c'd", ("say", "ab cd")),
        ("say $HOME '$HOME'", ("say", "$HOME", "$HOME")),
        (r'say "\$HOME"', ("say", "$HOME")),
        ("mode http\rignored", ("mode", "http")),
        ("mode\u2028http", ("mode\u2028http",)),
        ("say a\\", ("say", "a\\")),
    ],
)
def test_haproxycfg_words_are_those_of_haproxy(line: str, words: tuple[str, ...]) -> None:
    """Quotes, escapes, comments and spaces mean what haproxy's manual says."""
    assert haproxycfg.split(line) == (words, True)


@pytest.mark.parametrize("line", ["say 'a", 'say "a', r"say \x4", r"say \xg0", r"say \x00", "a\0b"])
def test_haproxycfg_refuses_what_haproxy_refuses(line: str) -> None:
    """An open quote, half an escape and a NUL are errors that name the line."""
    with pytest.raises(ParseError, match="line 2 of the configuration"):
        haproxycfg.sections(f"global\n{line}\n")


def test_haproxycfg_tells_what_depends_on_the_environment() -> None:
    """A variable between weak quotes is told, one elsewhere is only text."""
    assert haproxycfg.split('say "$A"') == (("say", "$A"), False)
    assert haproxycfg.split("say $A")[1]


def test_haproxycfg_sections_hold_their_directives() -> None:
    """Every directive stands in the section that its keyword opened, in order."""
    text = "global\n daemon\n\nbackend a:b # pool\n balance source\n server x 192.0.2.1:80\n"
    first, second = haproxycfg.sections(text)
    assert (first.kind, first.name) == ("global", "")
    assert (second.kind, second.name) == ("backend", "a:b")
    assert [line.words for line in second.body] == [
        ("balance", "source"),
        ("server", "x", "192.0.2.1:80"),
    ]
    assert [line.line for line in second.body] == [5, 6]


def test_haproxycfg_equality_is_of_meaning() -> None:
    """Comments, quotes and blank lines make no difference; a word does."""
    one = haproxycfg.sections("global\n  daemon\n")
    assert one == haproxycfg.sections("# c\nglobal\n\n'daemon' # d\n")
    assert one != haproxycfg.sections("global\n  daemon2\n")
    assert haproxycfg.sections('a "$B"\n') != haproxycfg.sections("a '$B'\n")


@given(st.lists(HOSTILE, min_size=1))
def test_haproxycfg_quoted_words_come_back(words: list[str]) -> None:
    """Whatever a word holds, quoted it stays one word of one line, and the same."""
    line = " ".join(haproxycfg.quote(word) for word in words)
    assert list(haproxycfg.directives(line)) == [Directive(words=tuple(words))]


@given(HOSTILE)
def test_haproxycfg_parses_or_refuses(text: str) -> None:
    """Any text gives sections, which written out give the same again, or a ParseError."""
    try:
        found = haproxycfg.sections(text)
    except ParseError:
        return
    lines = [line for part in found for line in ([part.head] if part.head else []) + [*part.body]]
    if all(line.literal for line in lines):
        again = "\n".join(" ".join(map(haproxycfg.quote, line.words)) for line in lines)
        assert haproxycfg.sections(again) == found


def test_haproxycfg_quote_refuses_a_nul() -> None:
    """No configuration can hold a NUL."""
    with pytest.raises(ParseError):
        haproxycfg.quote("a\0b")
