# SPDX-License-Identifier: Apache-2.0
"""Text of a configuration file, as opposed to a value that is still to become a word of one."""


class Written(str):
    """What goes into a file as it is."""

    __slots__ = ()
