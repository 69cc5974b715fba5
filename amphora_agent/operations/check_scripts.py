# SPDX-License-Identifier: Apache-2.0
"""The scripts that tell keepalived whether this amphora of a pair may hold the VIP.

They follow from what is on the disk, and are written before whatever they are written for: a
request that cannot write them fails with nothing else done.

| load balancers of haproxy | listeners of keepalived | haproxy is asked           |
| ------------------------- | ----------------------- | -------------------------- |
| none                      | none                    | no: the check fails        |
| none                      | some                    | no                         |
| some                      | any                     | wherever it was not stopped |

One that is about to be deleted is not asked any more, but still counts as there. So the last
deletion takes the VIP from neither amphora, and the next listener has it at once.
"""

from collections.abc import Sequence
from pathlib import Path

from amphora_agent import render
from amphora_agent.layout import Layout
from amphora_agent.operations import inventory
from amphora_agent.operations.context import Context
from amphora_agent.system.disk import Disk
from amphora_agent.topology import Topology

# keepalived runs the first, which reads the others.
_PROGRAM = 0o755
_PART = 0o644


def write(context: Context, *, lvs_comes: bool = False) -> None:
    """Bring the scripts to what is configured now.

    Args:
        lvs_comes: a listener of keepalived is about to be stored.

    Raises:
        OSError: one could not be written; each is as before or as it should be.
    """
    layout = context.settings.layout
    with context.locks.hold("check scripts"):
        lb_ids = inventory.haproxy_ids(context)
        asked = [lb_id for lb_id in lb_ids if not layout.haproxy_stopped(lb_id).exists()]
        has_lvs = lvs_comes or bool(inventory.lvs_ids(context))
        stem = layout.lvs_pids("")[0].with_suffix("")
        parts = {
            layout.lvs_check_script: render.lvs_check_script(stem) if has_lvs else None,
            layout.haproxy_check_script: haproxy_part(
                None if not lb_ids else [str(layout.stats_socket(lb_id)) for lb_id in asked],
                has_lvs=has_lvs,
            ),
        }
        for path, text in parts.items():
            if text is None:
                context.disk.remove(path)
            else:
                _write(context.disk, path, text.encode(), _PART)
        program = render.check_script(layout.check_scripts_dir)
        _write(context.disk, layout.check_script, program.encode(), _PROGRAM)


def refresh(context: Context, *, lvs_comes: bool = False) -> None:
    """The same, if this amphora is one of a pair; a single one's are asked for by nobody.

    Raises:
        OSError: see write.
    """
    is_pair = context.settings.topology is Topology.ACTIVE_STANDBY
    if is_pair or context.settings.layout.check_script.exists():
        write(context, lvs_comes=lvs_comes)


def paths(layout: Layout) -> tuple[Path, ...]:
    """Where they lie."""
    return (layout.check_script, layout.lvs_check_script, layout.haproxy_check_script)


def haproxy_part(sockets: Sequence[str] | None, *, has_lvs: bool) -> str | None:
    """The script about haproxy; None if there is to be none.

    Args:
        sockets: of the load balancers that are asked; None if there is no load balancer.
    """
    if sockets is None and has_lvs:
        return None
    return render.haproxy_check_script(sockets)


def _write(disk: Disk, path: Path, content: bytes, mode: int) -> None:
    """One that is as it should be is not touched."""
    if disk.read(path) != (content, mode):
        disk.write(path, content, mode)
