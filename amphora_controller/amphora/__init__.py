# SPDX-License-Identifier: Apache-2.0
"""One amphora, asked over mutual TLS as Octavia's controllers ask it."""
