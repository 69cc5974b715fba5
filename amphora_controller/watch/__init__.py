# SPDX-License-Identifier: Apache-2.0
"""Heartbeats watched: who is there, what changed, and who is told of it."""
