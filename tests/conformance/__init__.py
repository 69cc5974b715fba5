# SPDX-License-Identifier: Apache-2.0
"""What an unmodified controller expects of a running amphora agent, test by test."""
