# SPDX-License-Identifier: Apache-2.0
"""All amphorae of a cloud: what they are made of, and how they are replaced in turn."""
