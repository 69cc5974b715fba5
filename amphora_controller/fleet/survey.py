# SPDX-License-Identifier: Apache-2.0
"""Many amphorae asked at once, each what it is made of."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from amphora_controller.amphora.client import Amphora, Answer
from amphora_controller.amphora.refusals import expect
from amphora_controller.errors import ControllerError
from amphora_controller.fleet.model import Known, Report, Role

# docs/metrics.md
_BUILD_INFO = re.compile(r'^amphora_build_info\{[^}]*\bversion="([^"]*)"', re.MULTILINE)


def survey(
    fleet: Sequence[Known], reach: Callable[[Known], Amphora], *, at_once: int
) -> list[Report]:
    """Ask all of them; one that does not answer is a report, too.

    Args:
        reach: how one is asked.
        at_once: how many are asked at the same time.
    """
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        return list(pool.map(lambda known: ask(known, reach(known)), fleet))


def ask(known: Known, amphora: Amphora) -> Report:
    """Ask one."""
    report = Report(amphora=known)
    try:
        with amphora.connect() as session:
            names = session.names
            report = replace(
                report,
                id=names[0] if names else None,
                certificate_until=session.certificate.not_valid_after_utc,
            )
            info = expect(session.request("GET", "/1.0/info"), 200).json()
        report = replace(report, haproxy=str(info["haproxy_version"]))
        report = replace(report, agent=_agent(amphora.request("GET", "/2.0/metrics")))
        if known.role in {Role.MASTER, Role.BACKUP} and known.vip is not None:
            answer = amphora.request("GET", f"/1.0/interface/{known.vip}")
            report = replace(report, holds_vip=expect(answer, 200, 404).status == 200)
    except ControllerError as exc:
        return replace(report, cause=exc.message)
    except (KeyError, TypeError):
        return replace(report, cause="what it tells of itself is not understood")
    return report


def _agent(answer: Answer) -> str | None:
    """The version of the agent; only one with API 2.0 tells it."""
    if answer.status != 200:
        return None
    found = _BUILD_INFO.search(answer.body.decode(errors="replace"))
    return found[1] if found else None
