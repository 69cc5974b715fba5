# SPDX-License-Identifier: Apache-2.0
"""Whether and when a heartbeat is due."""


def keepalived_fault(pid_text: str | None, process_stat: str | None) -> str:
    """Why a configured keepalived does not run; "" when it does.

    A heartbeat must not be sent then: its absence is what makes the controller replace an amphora
    that can no longer take the VIP over.

    Args:
        pid_text: content of the pid file; None when there is none.
        process_stat: /proc/<pid>/stat (proc(5)); None when there is no such process.
    """
    if pid_text is None:
        return "its pid file is missing"
    pid = parse_pid(pid_text)
    if pid is None:
        return "its pid file holds no process id"
    if process_stat is None:
        return f"process {pid} does not exist"
    # pid (name) state ...; a name may hold spaces and parentheses.
    head, _, tail = process_stat.rpartition(") ")
    name = head.partition(" (")[2]
    if tail[:1] in {"Z", "X"}:
        return f"process {pid} has ended"
    if not name.startswith("keepalived"):
        # After a restart of the amphora an old pid file names whatever process has the number.
        return f"process {pid} is {name!r}"
    return ""


def parse_pid(text: str) -> int | None:
    """The process id in a pid file; None when there is none."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and 1 <= len(text) <= 9 else None


def next_due(due_s: float, *, now_s: float, interval_s: float) -> float:
    """When the next heartbeat is due, on the grid that `due_s` began.

    After a stall the missed ones are left out, not sent in a burst.
    """
    return due_s + interval_s * max(1, int((now_s - due_s) // interval_s) + 1)
