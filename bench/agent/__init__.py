# SPDX-License-Identifier: Apache-2.0
"""This agent and upstream's on the same machine in the same run; see docs/bench-agent.md."""
