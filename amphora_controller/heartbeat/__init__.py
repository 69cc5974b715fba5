# SPDX-License-Identifier: Apache-2.0
"""Heartbeats as a controller reads them; amphora_agent.heartbeat makes them. No I/O, no clock."""
