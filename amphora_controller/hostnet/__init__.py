# SPDX-License-Identifier: Apache-2.0
"""The controller's own interface on the management network.

interface   what it is, and the commands that make it so and take it away (pure)
files       the systemd unit and the rules that bring it back at every boot (pure)
observed    what the host has (reads only)
"""
