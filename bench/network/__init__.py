# SPDX-License-Identifier: Apache-2.0
"""Plugs, and the way back after a reboot, measured with the real kernel."""
