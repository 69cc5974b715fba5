# SPDX-License-Identifier: Apache-2.0
"""A scrape of the metrics, ours and upstream's; see docs/metrics.md."""
