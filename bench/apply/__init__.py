# SPDX-License-Identifier: Apache-2.0
"""A change applied by commands, beside the same one applied by a reload."""
