# SPDX-License-Identifier: Apache-2.0
"""A small real cloud: Keystone, Glance, Neutron and Nova's API, in namespaces of its own."""
