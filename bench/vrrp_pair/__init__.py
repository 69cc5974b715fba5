# SPDX-License-Identifier: Apache-2.0
"""How long a pair is without its VIP, by what keepalived is told; see docs/bench-network.md."""
