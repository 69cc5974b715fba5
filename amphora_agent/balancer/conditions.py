# SPDX-License-Identifier: Apache-2.0
"""Requests that hold only for one state of a load balancer (RFC 9110, section 13)."""

import re
from dataclasses import dataclass

from amphora_agent.errors import InvalidRequest, PreconditionFailed

_TAG = re.compile(r'\s*(?:W/)?"([!#-~]*)"\s*')


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """What has to hold; by default nothing.

    Attributes:
        tags: one of these entity tags, without quotes; None for any state.
        exists: there is one already (`If-Match: *`), or there is none (`If-None-Match: *`).
    """

    tags: tuple[str, ...] | None = None
    exists: bool | None = None

    def check(self, tag: str | None) -> None:
        """Compare with the entity tag of what there is; None when there is nothing.

        Raises:
            PreconditionFailed: it does not hold.
        """
        now = "there is none" if tag is None else f'its entity tag is "{tag}"'
        if self.exists is not None and self.exists != (tag is not None):
            wanted = "is there" if self.exists else "is not there yet"
            raise PreconditionFailed(f"The request is for a load balancer that {wanted}", now)
        if self.tags is not None and tag not in self.tags:
            raise PreconditionFailed(
                "The load balancer is not the one that the request is for",
                f"{now}; GET it again and look at what has changed",
            )


def parse(if_match: str | None, if_none_match: str | None) -> Condition:
    """The headers If-Match and If-None-Match; of the latter only `*` means something for writes.

    Raises:
        InvalidRequest: a header is not what RFC 9110 has there.
    """
    exists: bool | None = None
    tags: tuple[str, ...] | None = None
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise InvalidRequest("If-None-Match is not understood", "right would be `*`")
        exists = False
    if if_match is not None:
        if exists is not None:
            raise InvalidRequest("If-Match and If-None-Match exclude each other", "send one")
        if if_match.strip() == "*":
            exists = True
        else:
            tags = tuple(_tag(word) for word in if_match.split(","))
    return Condition(tags=tags, exists=exists)


def _tag(word: str) -> str:
    found = _TAG.fullmatch(word)
    if found is None:
        raise InvalidRequest(
            "If-Match is not understood", 'right would be `"3-1b9e04c2"`, as ETag has it'
        )
    return found[1]
