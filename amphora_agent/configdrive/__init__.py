# SPDX-License-Identifier: Apache-2.0
"""The documents of a config drive, read into frozen values; pure.

A document that cannot be read at all is a ParseError. One bad entry of an otherwise good document
is left out and told in `problems`, so that one mistake does not cost the amphora its network.
"""
