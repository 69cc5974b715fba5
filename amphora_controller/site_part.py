# SPDX-License-Identifier: Apache-2.0
"""What parts of the site's file are made of."""

from typing import Annotated

from msgspec import Meta, Struct

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Url = Annotated[str, Meta(pattern="^https?://")]


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the file."""
