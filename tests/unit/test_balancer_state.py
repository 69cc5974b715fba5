# SPDX-License-Identifier: Apache-2.0
"""What changes between two states of files, and how it is shown."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.balancer import diff, state
from amphora_agent.balancer.state import Change, File, Files

_ONE, _TWO = Path("/base/one"), Path("/base/two")


def file(text: str, mode: int = 0o600, *, secret: bool = False) -> File:
    """A file of a text."""
    return File(content=text.encode(), mode=mode, secret=secret)


def some_files() -> st.SearchStrategy[Files]:
    """A few files of few contents, so that many are equal."""
    one = st.builds(file, st.sampled_from(["", "a", "b"]), st.sampled_from([0o600, 0o644]))
    return st.dictionaries(st.sampled_from([Path(f"/base/{name}") for name in "abcd"]), one)


@given(some_files(), some_files())
def test_changes_lead_from_one_state_to_the_other(before: Files, after: Files) -> None:
    """Done in order they make one of the other, and none of them is for nothing."""
    found = dict(before)
    for change in state.changes(before, after):
        assert found.get(change.path) == change.before
        assert change.before != change.after
        if change.after is None:
            del found[change.path]
        else:
            found[change.path] = change.after
    assert found == after


def test_changes_write_before_they_remove() -> None:
    """What a new file names is there before what the old one named is gone."""
    found = state.changes({_ONE: file("old")}, {_TWO: file("new")})
    assert [change.path for change in found] == [_TWO, _ONE]


def test_differing_files_are_those_of_other_content() -> None:
    """A missing file differs, one that must not be there differs, and a mode does not."""
    wanted = {_ONE: file("a").sha256, _TWO: None}
    assert state.differing(wanted, {_ONE: file("a", 0o644)}) == ()
    assert state.differing(wanted, {_TWO: file("b")}) == (_ONE, _TWO)
    assert state.differing(wanted, {_ONE: file("b")}) == (_ONE,)


def test_diff_is_unified_and_complete() -> None:
    """A change, a new file without a line end, and one that goes look as `diff -u` has them."""
    changed = diff.unified(Change(path=_ONE, before=file("a\nb\n"), after=file("a\nc\n")))
    assert changed == "--- /base/one\n+++ /base/one\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    new = diff.unified(Change(path=_ONE, before=None, after=file("a")))
    assert new == "--- /dev/null\n+++ /base/one\n@@ -0,0 +1 @@\n+a\n"
    gone = diff.unified(Change(path=_ONE, before=file("a\n"), after=None))
    assert gone == "--- /base/one\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"


def test_diff_of_a_secret_has_checksums_only() -> None:
    """A certificate's content is in no line, and a password of keepalived neither."""
    before, after = file("key one", secret=True), file("key two", secret=True)
    shown = diff.unified(Change(path=_ONE, before=before, after=after))
    assert "key" not in shown
    assert before.sha256 in shown
    assert after.sha256 in shown
    password = file("auth_pass geheim\n")
    assert "geheim" not in diff.unified(Change(path=_ONE, before=None, after=password))


def test_repr_of_a_file_has_no_content() -> None:
    """A file in a log or a traceback tells no key."""
    assert "key" not in repr(file("key"))
