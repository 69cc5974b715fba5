# SPDX-License-Identifier: Apache-2.0
"""Make a site so, step by step, and take it away again."""
