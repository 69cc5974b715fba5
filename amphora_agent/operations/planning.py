# SPDX-License-Identifier: Apache-2.0
"""What a document changes on this amphora, and what is noted of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amphora_agent.balancer import desired, revision
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.revision import KEPT, Revision
from amphora_agent.balancer.state import Change, Desired, File, Runs, changes
from amphora_agent.layout import Layout
from amphora_agent.operations import checking, machine, pems, revisions, serving
from amphora_agent.operations.context import Context
from amphora_agent.topology import Topology

_PRIVATE = 0o600


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a document changes.

    Attributes:
        document: with the checksums of its certificates.
        contents: of certificates, by name.
        changes: of the files that services read.
        ran: what runs before.
        memory_kb: what haproxy was rendered for. It is that of the revision before: with the
            memory that is free at the moment every change would be one of more than it says.
    """

    document: LoadBalancer
    contents: Mapping[str, bytes] = field(repr=False)
    memory_kb: int
    desired: Desired
    changes: tuple[Change, ...]
    ran: Runs

    def changes_nothing(self, last: Revision | None) -> bool:
        """Whether the document is served already."""
        return (
            last is not None
            and not self.changes
            and self.ran == self.desired.runs
            and last.document == revision.without_pems(self.document)
        )


def plan(context: Context, document: LoadBalancer, last: Revision | None) -> Plan:
    """Compare a document with what there is.

    Args:
        last: the newest revision.

    Raises:
        InvalidDocument, CertificateGone, WrongAmphora: it cannot be served here.
        AgentError: the service manager could not be asked.
    """
    document = revision.with_password(document, last.document if last else None)
    machine.check(context, document)
    document, contents = pems.resolve(context, document)
    pems.check(document, contents)
    memory_kb = last.memory_kb if last else machine.memory(context)
    here = machine.machine(context, document, context.settings.layout, memory_kb=memory_kb)
    wanted = desired.desired(document, contents, here)
    before = _before(context, last, document, wanted)
    return Plan(
        document=document,
        contents=contents,
        memory_kb=memory_kb,
        desired=wanted,
        changes=changes(before, wanted.files),
        ran=_ran(context, last, document),
    )


def removal(context: Context, last: Revision, wanted: Desired) -> tuple[tuple[Change, ...], Runs]:
    """What goes with a load balancer, and what of it runs.

    Args:
        wanted: what stays nevertheless.
    """
    lb_id = last.document.id
    before = _before(context, last, last.document, wanted) | _books(context, lb_id)
    return changes(before, wanted.files), _ran(context, last, last.document)


def check(context: Context, found: Plan) -> None:
    """Let the programs read what they would run.

    Raises:
        StepFailed: one refuses it.
    """

    def rendered(layout: Layout) -> Desired:
        document = found.document
        there = machine.machine(context, document, layout, memory_kb=found.memory_kb)
        return desired.desired(document, found.contents, there)

    paths = [change.path for change in found.changes if change.after is not None]
    if paths:
        checking.check(context, found.document, rendered, paths)


def noted(context: Context, found: Plan) -> dict[str, str | None]:
    """Checksums of the files that the document asks for, by path; None for what must not be."""
    wanted: dict[str, str | None] = {
        str(path): None for path in desired.own(found.document, context.settings.layout)
    }
    return wanted | {str(path): file.sha256 for path, file in found.desired.files.items()}


def bookkeeping(context: Context, found: Plan, made: Revision) -> tuple[Change, ...]:
    """The files of a new revision, and those of the revisions that are too old now.

    Certificates of the revisions that are kept are kept as well, by their contents.
    """
    layout, lb_id = context.settings.layout, found.document.id
    staying = revisions.numbers(context, lb_id)[: KEPT - 1]
    documents = [revisions.read(context, lb_id, number).document for number in staying]
    needed = {certificate.sha256 for old in documents for certificate in old.certificates}
    paths = {layout.revision(lb_id, number) for number in staying}
    paths |= {layout.kept_certificate(lb_id, sha256) for sha256 in needed if sha256}
    before = _books(context, lb_id)
    made_now = File(content=revision.encode(made), mode=_PRIVATE)
    after = {
        **{path: file for path, file in before.items() if path in paths},
        **desired.kept(found.document, found.contents, layout),
        layout.revision(lb_id, made.revision): made_now,
    }
    return changes(before, after)


def _before(
    context: Context, last: Revision | None, document: LoadBalancer, wanted: Desired
) -> dict[Path, File]:
    """What there is of a load balancer, whoever has written it."""
    layout = context.settings.layout
    paths = {*wanted.files, *desired.own(document, layout)}
    paths |= set(layout.cert_dir(document.id).glob("*.pem"))
    if last is not None:
        paths |= {Path(path) for path in last.files} | desired.own(last.document, layout)
        # Listeners of others need it, too.
        paths -= {layout.udp_check} - {*wanted.files}
    return revisions.files(context, paths)


def _ran(context: Context, last: Revision | None, document: LoadBalancer) -> Runs:
    documents = [found for found in (document, last and last.document) if found]
    listeners = {name for found in documents for name in desired.lvs_ids(found)}
    is_pair = any(found.topology is Topology.ACTIVE_STANDBY for found in documents)
    return serving.running(context, document.id, listeners, vrrp=is_pair)


def _books(context: Context, lb_id: str) -> dict[Path, File]:
    """The revisions and the certificates that are kept for them."""
    layout = context.settings.layout
    kept = layout.kept_certificate(lb_id, "").parent
    paths = [*layout.revisions_dir(lb_id).glob("*.json"), *kept.glob("*.pem")]
    return revisions.files(context, paths)
