# SPDX-License-Identifier: Apache-2.0
"""Parts of paths that several resources have."""

from amphora_agent.errors import InvalidRequest
from amphora_agent.models import Action


def action(text: str) -> Action:
    """Read the action at the end of a path, in upper or lower case.

    Raises:
        InvalidRequest: it is none; told before anything else about the resource.
    """
    try:
        return Action(text.lower())
    except ValueError as exc:
        raise InvalidRequest("Invalid Request", f"Unknown action: {text}") from exc
