# SPDX-License-Identifier: Apache-2.0
"""Let the programs read what they would run, before anything has changed."""

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path

from amphora_agent import render
from amphora_agent.balancer import refusals
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.state import Desired, touches
from amphora_agent.errors import AgentError, Refused, StepFailed
from amphora_agent.layout import Layout
from amphora_agent.operations import loadbalancer, staging
from amphora_agent.operations.context import Context

Rendering = Callable[[Layout], Desired]


def check(
    context: Context, document: LoadBalancer, render_for: Rendering, changed: Collection[Path]
) -> None:
    """Check the files that are about to change.

    haproxy reads certificates where its configuration says that they are. So it is rendered a
    second time, for a directory beside, and only that is checked. What is beside is removed when
    the change is settled.

    Args:
        render_for: what is to be there, with certificates below the layout's directory.

    Raises:
        StepFailed: a program refuses a file; the details are its words.
    """
    layout, lb_id = context.settings.layout, document.id
    beside = layout.transaction_dir(lb_id) / "check"
    secrets = layout.secrets_transaction_dir(lb_id) / "check"
    staged = dataclasses.replace(layout, certs=secrets)
    step = "render the configuration"
    try:
        desired = render_for(staged)
        if touches(changed, layout.haproxy_config(lb_id), layout.cert_dir(lb_id)):
            step = "have haproxy check the configuration"
            _haproxy(context, document, desired, staged, beside)
        for path, file in desired.files.items():
            if path not in changed:
                continue
            if path == layout.vip_rules:
                step = "have nft check the firewall"
                context.nftables.check(file.content.decode())
            elif path.parent in {layout.lvs_dir, layout.keepalived_config.parent}:
                step = f"have keepalived check {path.name}"
                context.disk.write(beside / path.name, file.content, file.mode)
                staging.check_keepalived(context, beside / path.name)
    except (AgentError, OSError) as exc:
        words = exc.details if isinstance(exc, AgentError) and exc.details else str(exc)
        faults = exc.faults if isinstance(exc, Refused) else ()
        raise StepFailed(step, words, refused=True, restored=True, faults=faults) from exc


def _haproxy(
    context: Context, document: LoadBalancer, desired: Desired, staged: Layout, beside: Path
) -> None:
    config = desired.files.get(staged.haproxy_config(document.id))
    if config is None:
        return
    for path, file in desired.files.items():
        if path.parent == staged.cert_dir(document.id):
            context.disk.write(path, file.content, file.mode)
    path = beside / "haproxy.cfg"
    context.disk.write(path, config.content, config.mode)
    try:
        loadbalancer.check(context, path, render.peer_name(context.settings.amphora_id))
    except Refused as exc:
        faults = refusals.faults(document, path, config.content.decode(), exc.details)
        raise Refused(exc.message, exc.details, faults=faults) from exc
