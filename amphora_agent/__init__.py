# SPDX-License-Identifier: Apache-2.0
"""The part of the amphora that runs inside the virtual machine."""

__version__ = "0.1.0"
