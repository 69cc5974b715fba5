# SPDX-License-Identifier: Apache-2.0
"""What rendering an haproxy.cfg takes, beside Octavia's renderer."""
