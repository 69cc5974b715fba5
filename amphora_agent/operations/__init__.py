# SPDX-License-Identifier: Apache-2.0
"""What a request does, in order; one module per resource."""
