# SPDX-License-Identifier: Apache-2.0
"""Datagrams to health managers, and what their hosts say to them.

The datagrams are empty: a health manager writes one line that it drops it, and that is all. They
say nothing about amphorae.
"""

import errno
import selectors
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from amphora_controller.doctor.managers import Reply
from amphora_controller.doctor.options import Endpoint

# Begin of the ports that traceroute uses: by convention nobody listens there.
_UNUSED_PORT = 33434
# A host sends a limited number of ICMP errors to one other, one a second in the end (icmp(7)): what
# was not refused is asked again after this time.
_AGAIN_S = 1.1
_GRACE_S = 0.5
# <linux/in.h>, <linux/in6.h>: errors such as "host unreachable" are told too.
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_UNREACHABLE = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EACCES, errno.EPERM}
)


@dataclass(slots=True)
class _Question:
    """What one host is asked.

    Attributes:
        asked, other: sockets connected to the health manager's port, and to an unused one.
        due_s: when it is asked again, or decided.
    """

    asked: socket.socket
    other: socket.socket
    due_s: float
    is_other_refused: bool = False
    is_asked_again: bool = False
    reply: Reply | None = None


def replies(endpoints: Iterable[Endpoint], *, wait_s: float) -> dict[Endpoint, Reply]:
    """Ask all of them at once.

    Args:
        wait_s: after which silence is silence; a host that does not answer ARP shows after 3 s.
    """
    with _Round() as asking:
        questions = {item: asking.question(item) for item in endpoints}
        asking.run(tuple(questions.values()), end_s=time.monotonic() + wait_s)
    return {item: question.reply or Reply.SILENT for item, question in questions.items()}


@dataclass(slots=True)
class _Round:
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _sockets: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> "_Round":
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for opened in self._sockets:
            opened.close()

    def question(self, item: Endpoint) -> _Question:
        """Send the first datagrams."""
        question = _Question(
            asked=self._socket(item),
            other=self._socket(Endpoint(item.address, _UNUSED_PORT)),
            due_s=time.monotonic() + _AGAIN_S,
        )
        for opened, port in ((question.asked, item.port), (question.other, _UNUSED_PORT)):
            self._selector.register(opened, selectors.EVENT_READ, question)
            try:
                opened.connect((str(item.address), port))
            except OSError as exc:
                _take(question, opened, exc)
            else:
                _send(question, opened)
        return question

    def run(self, questions: tuple[_Question, ...], *, end_s: float) -> None:
        """Wait for what their hosts say."""
        while waiting := [question for question in questions if question.reply is None]:
            now_s = time.monotonic()
            if now_s >= end_s:
                return
            until_s = min(end_s, *(question.due_s for question in waiting))
            for key, _ in self._selector.select(max(0.0, until_s - now_s)):
                opened = key.fileobj
                assert isinstance(opened, socket.socket)  # noqa: S101  # nothing else is registered
                _receive(key.data, opened)
            for question in waiting:
                if question.reply is None and time.monotonic() >= question.due_s:
                    _again(question)

    def _socket(self, item: Endpoint) -> socket.socket:
        is_ipv4 = item.address.version == 4
        opened = socket.socket(socket.AF_INET if is_ipv4 else socket.AF_INET6, socket.SOCK_DGRAM)
        self._sockets.append(opened)
        opened.setblocking(False)
        level, option = (
            (socket.IPPROTO_IP, _IP_RECVERR) if is_ipv4 else (socket.IPPROTO_IPV6, _IPV6_RECVERR)
        )
        opened.setsockopt(level, option, 1)
        return opened


def _again(question: _Question) -> None:
    """Ask again, or decide: two datagrams were not refused while another port's was."""
    if question.is_other_refused and question.is_asked_again:
        question.reply = Reply.LISTENS
        return
    question.is_asked_again = question.is_other_refused
    question.due_s = time.monotonic() + (_GRACE_S if question.is_other_refused else _AGAIN_S)
    _send(question, question.asked)
    if not question.is_other_refused:
        _send(question, question.other)


def _send(question: _Question, opened: socket.socket) -> None:
    try:
        opened.send(b"")
    except OSError as exc:
        # Of this socket, but perhaps of a datagram before.
        _take(question, opened, exc)


def _receive(question: _Question, opened: socket.socket) -> None:
    try:
        opened.recv(1)
    except BlockingIOError:
        pass
    except OSError as exc:
        _take(question, opened, exc)
    # The same error once more, with what it is about; it would be reported as ready for ever.
    with suppress(OSError):
        opened.recvmsg(1, 512, socket.MSG_ERRQUEUE)


def _take(question: _Question, opened: socket.socket, error: OSError) -> None:
    """What an error says; one of an earlier datagram may come with a later one."""
    if error.errno == errno.ECONNREFUSED:
        if opened is question.asked:
            question.reply = Reply.REFUSED
        elif not question.is_other_refused:
            question.is_other_refused = True
            question.due_s = time.monotonic() + _AGAIN_S
    elif error.errno in _UNREACHABLE:
        question.reply = Reply.UNREACHABLE
