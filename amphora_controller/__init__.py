# SPDX-License-Identifier: Apache-2.0
"""The controller side: what an operator runs beside Octavia."""
