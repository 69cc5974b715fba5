# SPDX-License-Identifier: Apache-2.0
"""Load balancers as documents: what API 2.0 changes.

API 1.0 stays the law: what a controller uploads for a load balancer of API 2.0 takes effect, and
ends the revision, which is `superseded` from then on. Nothing has to note that: the files on the
disk are not those of the revision any more. The next PUT takes the load balancer over again, as it
takes over one that has come by API 1.0; whoever names a revision with it is told first.
"""

import contextlib
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime

from amphora_agent import render
from amphora_agent.balancer import desired, diff, revision
from amphora_agent.balancer.conditions import Condition
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.revision import Current, DryRun, Origin, PlannedFile, Revision
from amphora_agent.balancer.state import Change, Desired, File, Runs
from amphora_agent.errors import AgentError, ManagedElsewhere
from amphora_agent.operations import (
    firewall,
    loadbalancer,
    pems,
    planning,
    revisions,
    transaction,
    vrrp,
)
from amphora_agent.operations.context import Context
from amphora_agent.operations.transaction import Transaction

_LOCK = "load balancers of API 2.0"


def put(
    context: Context, document: LoadBalancer, condition: Condition, *, dry_run: bool = False
) -> tuple[Current | DryRun, bool]:
    """Have the amphora serve a document; returns what there is then, and whether it is new.

    A document that is served already changes nothing.

    Args:
        dry_run: only say what would change, after the same checks.

    Raises:
        PreconditionFailed: the load balancer is in another state than the condition says.
        InvalidDocument: a certificate cannot be right.
        CertificateGone: the content of one is not here.
        WrongAmphora: the amphora was made for something else.
        StepFailed: a program refuses it, or it could not be applied; all is as before.
    """
    with _held(context, document.id, document) as last:
        _check_condition(context, last, condition)
        made = _Making(context, last, dry_run=dry_run).make(document, Origin.PUT)
        return made, last is None


def rollback(
    context: Context, lb_id: str, number: int, condition: Condition, *, dry_run: bool = False
) -> Current | DryRun:
    """Have the amphora serve the document of an earlier revision; that makes a new one.

    Raises:
        NotFound: there is no such revision.
        AgentError: see put.
    """
    wanted = revisions.read(context, lb_id, number).document
    with _held(context, lb_id, wanted) as last:
        _check_condition(context, last, condition)
        return _Making(context, last, dry_run=dry_run).make(wanted, Origin.ROLLBACK, number)


def delete(context: Context, lb_id: str, condition: Condition) -> None:
    """Stop and forget a load balancer; one that is not known counts as deleted.

    Raises:
        PreconditionFailed: it is in another state than the condition says.
        ManagedElsewhere: it came by API 1.0.
        StepFailed: it could not be deleted; all is as before.
    """
    layout = context.settings.layout
    with _held(context, lb_id, None) as last:
        _check_condition(context, last, condition)
        if last is None:
            if loadbalancer.is_configured(context, lb_id):
                raise ManagedElsewhere(
                    "The load balancer came by API 1.0", f"DELETE /1.0/listeners/{lb_id} removes it"
                )
            return
        rules = File(content=render.vip_firewall(()).encode(), mode=0o600)
        # Without any rules the NIC is closed; without the file it would be open until the reboot.
        stays = {layout.vip_rules: rules} if last.document.sriov else {}
        goes, ran = planning.removal(context, last, Desired(files=stays, runs=Runs()))
        places = (layout.lb_dir, layout.cert_dir, layout.revisions_dir, layout.stats_socket)
        left = tuple(place(lb_id) for place in places)
        transaction.run(
            context,
            Transaction(lb_id=lb_id, changes=goes, runs=Runs(), ran=ran, leftovers=left),
        )


@contextlib.contextmanager
def _held(context: Context, lb_id: str, document: LoadBalancer | None) -> Iterator[Revision | None]:
    """Hold all that a change may touch, settled; yields the last revision.

    One change of API 2.0 runs at a time. A request of API 1.0 holds one of these locks, and waits
    at most for those of the firewall and the check scripts meanwhile, whose holders wait for
    nobody. So no two wait for each other, whatever the ids are.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(context.locks.hold(_LOCK))
        last = revisions.last(context, lb_id)
        documents = [found for found in (document, last and last.document) if found]
        listeners = {name for found in documents for name in desired.lvs_ids(found)}
        for name in (*sorted({lb_id, *listeners}), vrrp.LOCK, firewall.LOCK):
            stack.enter_context(context.locks.hold(name))
        transaction.settle(context, lb_id)
        try:
            # A change that was undone just now may have left a revision that is none.
            yield revisions.last(context, lb_id)
        except BaseException:
            with contextlib.suppress(AgentError, OSError):
                transaction.settle(context, lb_id)
            raise


def _check_condition(context: Context, last: Revision | None, condition: Condition) -> None:
    condition.check(revision.tag(last, revisions.state(context, last)[0]) if last else None)


class _Making:
    """The next revision of a load balancer.

    Args:
        last: the one before.
    """

    def __init__(self, context: Context, last: Revision | None, *, dry_run: bool) -> None:
        self._context = context
        self._last = last
        self._dry_run = dry_run

    def make(
        self, document: LoadBalancer, origin: Origin, of: int | None = None
    ) -> Current | DryRun:
        """See put and rollback."""
        context, last = self._context, self._last
        plan = planning.plan(context, document, last)
        warnings = pems.warnings(plan.contents)
        planning.check(context, plan)
        if self._dry_run:
            transaction.settle(context, document.id)
            return DryRun(files=tuple(map(_planned, plan.changes)), warnings=warnings)
        if last is not None and plan.changes_nothing(last):
            return revisions.current(context, last, warnings=warnings)
        made = Revision(
            revision=1 if last is None else last.revision + 1,
            generation=secrets.token_hex(4) if last is None else last.generation,
            created_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            origin=origin,
            of=of,
            document=revision.without_pems(plan.document),
            files=planning.noted(context, plan),
            memory_kb=plan.memory_kb,
        )
        done = transaction.run(
            context,
            Transaction(
                lb_id=document.id,
                changes=(*plan.changes, *planning.bookkeeping(context, plan, made)),
                runs=plan.desired.runs,
                ran=plan.ran,
            ),
        )
        # Whatever happens from here on, this is what is served.
        return revision.served(made, details=tuple(done), warnings=warnings)


def _planned(change: Change) -> PlannedFile:
    return PlannedFile(
        path=str(change.path),
        content=None if change.after is None else diff.shown(change.after),
        diff=diff.unified(change),
    )
