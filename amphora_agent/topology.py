# SPDX-License-Identifier: Apache-2.0
"""Topologies of load balancers."""

from enum import StrEnum


class Topology(StrEnum):
    """How many amphorae serve one load balancer."""

    SINGLE = "SINGLE"
    ACTIVE_STANDBY = "ACTIVE_STANDBY"
