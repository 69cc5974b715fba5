# SPDX-License-Identifier: Apache-2.0
"""Owners of files, as they are written on a command line."""

import grp
import pwd

from amphora_controller.errors import ControllerError


def owner_ids(text: str) -> tuple[int, int]:
    """User and group id of `user:group`; `user` alone stands for the user's own group.

    Raises:
        ControllerError: there is no such user or group.
    """
    user, _, group = text.partition(":")
    try:
        entry = pwd.getpwnam(user)
        return entry.pw_uid, grp.getgrnam(group).gr_gid if group else entry.pw_gid
    except KeyError as exc:
        raise ControllerError(
            f"there is no such user or group: {text}", "install Octavia's packages first"
        ) from exc
