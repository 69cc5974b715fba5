# SPDX-License-Identifier: Apache-2.0
"""How long a load balancer of two amphorae is without service when the active one dies."""
