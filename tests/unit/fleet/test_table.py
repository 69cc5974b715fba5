# SPDX-License-Identifier: Apache-2.0
"""A fleet and a plan as people and programs are told them."""

from amphora_controller.fleet import table
from amphora_controller.fleet.model import Report, Role
from tests.unit.fleet.fleets import NEW, NOW, OLD, amphora, answered, name, planned


def test_table_groups_and_lists() -> None:
    """The largest group comes first; who did not answer is in none of them."""
    reports = [
        *(answered(amphora(number, "lb", Role.MASTER, NEW)) for number in range(3)),
        answered(amphora(7, "lb", Role.MASTER)),
        Report(amphora=amphora(8, "lb", Role.MASTER), cause="it is off"),
    ]
    found = table.groups(reports, NOW)
    assert [(one.image_id, one.amphorae) for one in found] == [(NEW, 3), (OLD, 1)]
    text = table.listing(reports, NOW, each=False)
    assert text.splitlines()[0].split() == [
        *("IMAGE", "HAPROXY", "AGENT", "AMPHORAE", "CERTIFICATE", "DAYS"),
    ]
    assert text.endswith(f"\ndid not answer:\n  192.0.2.1  {name(8)}  it is off\n")
    assert table.listing([], NOW, each=True).count("\n") == 1


def test_plan_of_nothing_says_so() -> None:
    """An empty plan is a sentence, and an empty list for programs."""
    nothing = planned([])
    assert table.plan_text(nothing) == "no amphora is to be replaced\n"
    assert table.plan_json(nothing) == {"waves": [], "held": []}
