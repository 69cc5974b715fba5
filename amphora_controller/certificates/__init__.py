# SPDX-License-Identifier: Apache-2.0
"""The two certificate authorities of a deployment.

One signs the amphorae (server), the other one the controllers (client), so that an amphora's
certificate cannot act as a controller's. Each has a root, whose key is needed for nothing but a new
intermediate, and an intermediate that signs.
"""
