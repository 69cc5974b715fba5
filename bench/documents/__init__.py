# SPDX-License-Identifier: Apache-2.0
"""A document by API 2.0 beside an upload and a reload by API 1.0; see docs/api-2.0.md."""
