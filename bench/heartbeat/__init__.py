# SPDX-License-Identifier: Apache-2.0
"""The heartbeat sender and upstream's, on the same haproxy; see docs/bench-heartbeat.md."""
