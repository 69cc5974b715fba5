# SPDX-License-Identifier: Apache-2.0
"""What the sender says."""

import os


class Journal:
    """Writes lines to standard error with the priorities of sd-daemon(3), each trouble once."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}

    def info(self, text: str) -> None:
        """Say something worth knowing."""
        self._write(6, text)

    def debug(self, text: str) -> None:
        """Say something for whoever looks for a fault."""
        self._write(7, text)

    def warning(self, text: str) -> None:
        """Say that something is wrong, every time."""
        self._write(4, text)

    def trouble(self, topic: str, text: str, details: str = "") -> None:
        """Say what is wrong, unless the same was said last of this topic.

        Args:
            details: added to the line; a change of these alone is not worth another line.
        """
        if self._troubles.get(topic) != text:
            self._troubles[topic] = text
            self.warning(f"{text}: {details}" if details else text)

    def fine(self, topic: str, text: str) -> None:
        """Say that a trouble is over, if there was one."""
        if self._troubles.pop(topic, None) is not None:
            self.info(text)

    def _write(self, priority: int, text: str) -> None:
        # One entry is one line, also for a traceback.
        line = f"<{priority}>{' | '.join(text.strip().splitlines())}\n"
        try:
            os.write(2, line.encode(errors="replace"))
        except OSError:
            # Nobody reads the journal: no reason to stop the heartbeat.
            return
