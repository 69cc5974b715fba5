# SPDX-License-Identifier: Apache-2.0
"""The parts of the heartbeat sender; standard library only, as the sender is."""
