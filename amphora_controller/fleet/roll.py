# SPDX-License-Identifier: Apache-2.0
"""A plan carried out through Octavia's failover API.

Nothing is noted on the way: what a run has replaced, the next one finds replaced, and goes on where
the first one stopped.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from amphora_controller.errors import ControllerError
from amphora_controller.fleet.model import Known, LoadBalancer
from amphora_controller.fleet.plan import Plan, Step


class Cloud(Protocol):
    """What a roll needs of Octavia's API."""

    def amphorae(self, load_balancer_id: str | None = None) -> Sequence[Known]:
        """The amphorae of a load balancer, or all."""

    def load_balancer(self, load_balancer_id: str) -> LoadBalancer:
        """How one is now.

        Raises:
            ControllerError: it is gone, or there is no answer.
        """

    def fail_over(self, amphora_id: str) -> None:
        """Have one replaced; Octavia goes on by itself.

        Raises:
            ControllerError: Octavia does not do it.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long is waited, in seconds.

    Attributes:
        timeout_s: for a wave; a server has to be built and to boot in it.
        interval_s: between two looks.
    """

    timeout_s: float = 1800.0
    interval_s: float = 5.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True, slots=True)
class _Begun:
    """A failover that Octavia has taken.

    Attributes:
        before: ids of the amphorae that the load balancer had.
    """

    step: Step
    before: frozenset[str | None]


def roll(
    plan: Plan,
    cloud: Cloud,
    judge: Callable[[Known], str],
    patience: Patience,
    tell: Callable[[str], None],
) -> None:
    """Replace wave after wave, up to the first one in which something fails.

    Args:
        judge: what is wrong with a new amphora; empty if it may stay.
        tell: takes a line for each thing that has happened.

    Raises:
        ControllerError: something has failed; what Octavia had begun was waited for.
    """
    done = 0
    for number, wave in enumerate(plan.waves, 1):
        tell(f"wave {number} of {len(plan.waves)}")
        begun, refused = _begin(wave, cloud, tell)
        failed = _await(begun, cloud, judge, patience, tell)
        done += len(begun) - len(failed)
        if failures := [*refused, *failed]:
            raise ControllerError(
                f"stopped after {done} of {len(plan.steps)} amphorae",
                "\n  ".join([*failures, "when that is mended, the same command goes on"]),
            )


def settle(load_balancer_ids: Sequence[str], cloud: Cloud, patience: Patience) -> None:
    """Wait until Octavia works on none of these load balancers.

    Raises:
        ControllerError: one of them took too long.
    """
    deadline = patience.clock() + patience.timeout_s
    left = list(load_balancer_ids)
    while left := [one for one in left if cloud.load_balancer(one).is_changing]:
        if patience.clock() >= deadline:
            raise ControllerError(
                f"load balancers are still being changed: {', '.join(left)}",
                "`openstack loadbalancer show`, and the log of octavia-worker",
            )
        patience.sleep(patience.interval_s)


def _begin(
    wave: Sequence[Step], cloud: Cloud, tell: Callable[[str], None]
) -> tuple[list[_Begun], list[str]]:
    """Start the failovers of a wave, up to the first one that is refused."""
    begun: list[_Begun] = []
    for step in wave:
        before = frozenset(known.id for known in cloud.amphorae(step.load_balancer_id))
        if step.amphora.id is None or step.amphora.id not in before:
            tell(f"  {step.amphora.name} is gone already")
            continue
        try:
            cloud.fail_over(step.amphora.id)
        except ControllerError as exc:
            return begun, [f"{step.amphora.name}: {exc}"]
        tell(f"  {step.amphora.name} of load balancer {step.load_balancer_id}: being replaced")
        begun.append(_Begun(step=step, before=before))
    return begun, []


def _await(
    begun: Sequence[_Begun],
    cloud: Cloud,
    judge: Callable[[Known], str],
    patience: Patience,
    tell: Callable[[str], None],
) -> list[str]:
    """Wait for all failovers of a wave; what failed of them."""
    deadline = patience.clock() + patience.timeout_s
    failures: list[str] = []
    left = list(begun)
    while left:
        late = patience.clock() >= deadline
        for one in list(left):
            failure = _outcome(one, cloud, judge, late=late)
            if failure is None:
                continue
            left.remove(one)
            failures += [f"{one.step.amphora.name}: {failure}"] if failure else []
            tell(f"  {one.step.amphora.name}: {failure or 'replaced'}")
        if left:
            patience.sleep(patience.interval_s)
    return failures


def _outcome(
    begun: _Begun, cloud: Cloud, judge: Callable[[Known], str], *, late: bool
) -> str | None:
    """What is wrong after a failover, empty for nothing; None while it goes on.

    An API that does not answer for a while is waited for as Octavia is.
    """
    try:
        now = cloud.load_balancer(begun.step.load_balancer_id)
        if now.is_changing and not late:
            return None
        return _failure(begun, now, cloud, judge)
    except ControllerError as exc:
        return str(exc) if late else None


def _failure(begun: _Begun, now: LoadBalancer, cloud: Cloud, judge: Callable[[Known], str]) -> str:
    """What is wrong after a failover; empty if the load balancer is whole again."""
    if now.status != "ACTIVE":
        return f"load balancer {now.id} is {now.status}; look at the log of octavia-worker"
    after = {known.id: known for known in cloud.amphorae(now.id)}
    if begun.step.amphora.id in after:
        return f"load balancer {now.id} is ACTIVE again, and has the old amphora still"
    fresh = [known for amphora_id, known in after.items() if amphora_id not in begun.before]
    if len(fresh) != 1:
        return f"load balancer {now.id} is ACTIVE again, with {len(fresh)} new amphorae"
    wrong = judge(fresh[0])
    return f"the new {fresh[0].name} {wrong}" if wrong else ""
