# SPDX-License-Identifier: Apache-2.0
"""A load balancer as API 2.0 knows it: a document, what must hold of it, and what it renders to.

Everything in this package is pure: no input or output, no clock, no globals.
"""
