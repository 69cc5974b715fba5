# SPDX-License-Identifier: Apache-2.0
"""The text format of Prometheus, and what is counted."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from amphora_agent import metrics
from amphora_agent.metrics import Family, Kind
from amphora_agent.operations.counters import Counters, Event

# The parser, unlike Prometheus, takes other line ends than \n for ends of lines too.
VALUES = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), include_characters="\n")
)


def family(samples: dict[tuple[str, ...], float], labels: tuple[str, ...] = ()) -> Family:
    return Family(name="a_total", kind=Kind.COUNTER, help="h", labels=labels, samples=samples)


@given(st.dictionaries(st.tuples(VALUES, VALUES), st.floats(allow_nan=False, allow_infinity=False)))
def test_samples_are_read_as_they_were_written(samples: dict[tuple[str, ...], float]) -> None:
    """Prometheus reads every label and value of what was written, whatever the labels hold."""
    text = metrics.exposition([family(samples, ("one", "two"))])

    [read] = text_string_to_metric_families(text)
    found = {(s.labels["one"], s.labels["two"]): s.value for s in read.samples}
    assert found == pytest.approx(samples)
    assert read.type == "counter"


def test_whole_numbers_stay_whole() -> None:
    """A large counter is not rounded, and one without labels has no braces."""
    text = metrics.exposition([family({(): 12345678901234567})])

    assert text == "# HELP a_total h\n# TYPE a_total counter\na_total 12345678901234567\n"


def test_wrong_number_of_labels_is_a_mistake() -> None:
    """A sample with more values than there are labels does not become text."""
    with pytest.raises(ValueError, match="longer"):
        metrics.exposition([family({("x", "y"): 1}, ("one",))])


def test_counts_of_threads_add_up() -> None:
    """No event of several threads at once is lost, and events are apart from each other."""
    counters = Counters()

    def count() -> None:
        for number in range(1000):
            counters.add(Event.APPLY, "reload" if number % 2 else "socket")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counters.counts(Event.APPLY) == {("reload",): 4000, ("socket",): 4000}
    assert counters.counts(Event.REQUEST) == {}
