# SPDX-License-Identifier: Apache-2.0
"""The check that keepalived of a pair makes, ours and upstream's; see docs/bench-network.md."""
