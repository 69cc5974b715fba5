# SPDX-License-Identifier: Apache-2.0
"""The heartbeat: what an amphora tells its health manager, and the bytes that carry it.

Everything below is a function of its arguments: no clock, no file, no socket.
"""
