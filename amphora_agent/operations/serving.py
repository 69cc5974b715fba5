# SPDX-License-Identifier: Apache-2.0
"""Have the services of a load balancer run what its files say.

The caller holds the locks of all that is named; see transaction.py.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.balancer.state import Runs, touches
from amphora_agent.layout import KEEPALIVED_UNIT, haproxy_unit, lvs_unit
from amphora_agent.operations import announcements, apply, check_scripts, firewall
from amphora_agent.operations.context import Context

Step = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is to run.

    Attributes:
        runs: what serves at the end.
        ran: what may run at the beginning; what is not in `runs` is stopped.
        changed: files that are not those that the services have read.
    """

    lb_id: str
    runs: Runs
    ran: Runs
    changed: Collection[Path]


def running(context: Context, lb_id: str, lvs_ids: Collection[str], *, vrrp: bool) -> Runs:
    """What runs now.

    Args:
        lvs_ids: UDP and SCTP listeners that are looked after.
        vrrp: VRRP is looked after, too.
    """
    is_active = context.services.is_active
    return Runs(
        haproxy=is_active(haproxy_unit(lb_id)),
        lvs=tuple(sorted(name for name in lvs_ids if is_active(lvs_unit(name)))),
        vrrp=vrrp and is_active(KEEPALIVED_UNIT),
    )


def serve(context: Context, task: Task, step: Step) -> list[str]:
    """Load, start, reload and stop until what runs is what is to run; tells what was done.

    It can be called again after it was broken off at any point.

    Args:
        step: told what comes next.

    Raises:
        AgentError: the service manager or a program failed; the rest was not done.
        OSError: a file could not be read or written.
    """
    layout = context.settings.layout
    done: list[str] = []
    if touches(task.changed, layout.vip_rules):
        step("load the firewall")
        firewall.load_held(context)
        done.append("firewall loaded")
    step("write the check scripts")
    check_scripts.refresh(context)
    done += _lvs(context, task, step)
    done += _haproxy(context, task, step)
    done += _vrrp(context, task, step)
    if task.runs.haproxy or task.runs.lvs:
        announcements.vips(context)
    return done


def _lvs(context: Context, task: Task, step: Step) -> list[str]:
    done = []
    for listener_id in sorted({*task.ran.lvs} - {*task.runs.lvs}):
        step(f"stop listener {listener_id}")
        context.services.stop(lvs_unit(listener_id))
        done.append(f"listener {listener_id} stopped")
    for listener_id in task.runs.lvs:
        unit = lvs_unit(listener_id)
        # A reload would not put back members that IPVS has lost.
        if touches(task.changed, context.settings.layout.lvs_config(listener_id)):
            step(f"restart listener {listener_id}")
            context.services.restart(unit)
            done.append(f"listener {listener_id} restarted")
        elif not context.services.is_active(unit):
            step(f"start listener {listener_id}")
            context.services.start(unit)
            done.append(f"listener {listener_id} started")
    return done


def _haproxy(context: Context, task: Task, step: Step) -> list[str]:
    layout = context.settings.layout
    unit = haproxy_unit(task.lb_id)
    is_active = context.services.is_active(unit)
    if not task.runs.haproxy:
        if not is_active and not task.ran.haproxy:
            return []
        step("stop haproxy")
        context.services.stop(unit)
        return ["haproxy stopped"]
    read = (layout.haproxy_config(task.lb_id), layout.cert_dir(task.lb_id))
    changed = touches(task.changed, *read)
    if not is_active:
        step("start haproxy")
        if changed:
            apply.forget_server_state(context, task.lb_id)
        apply.start(context, task.lb_id)
        return ["haproxy started"]
    if not changed:
        return []
    step("reload haproxy")
    return [apply.haproxy(context, task.lb_id).details]


def _vrrp(context: Context, task: Task, step: Step) -> list[str]:
    is_active = context.services.is_active(KEEPALIVED_UNIT)
    if not task.runs.vrrp:
        # Of another load balancer, or of API 1.0, unless this one had it.
        if not task.ran.vrrp:
            return []
        step("stop VRRP")
        context.services.stop(KEEPALIVED_UNIT)
        return ["VRRP stopped"]
    if not is_active:
        step("start VRRP")
        context.services.start(KEEPALIVED_UNIT)
        return ["VRRP started"]
    if not touches(task.changed, context.settings.layout.keepalived_config):
        return []
    step("reload VRRP")
    # A restart would drop the VIP.
    context.services.reload(KEEPALIVED_UNIT)
    return ["VRRP reloaded"]
