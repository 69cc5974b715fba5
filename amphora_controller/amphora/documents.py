# SPDX-License-Identifier: Apache-2.0
"""Documents of load balancers in files: JSON, or YAML that is easier to write."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from amphora_agent.layout import is_object_id
from amphora_controller.errors import ControllerError

_YAML = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A load balancer as it is sent; whether it can be right is the amphora's to say.

    Attributes:
        content: JSON. It may hold keys of certificates.
    """

    lb_id: str
    content: bytes = field(repr=False)


def load(path: Path) -> Document:
    """Read a document; a file is YAML if its name ends so.

    Raises:
        ControllerError: the file cannot be read, is neither, or has no id.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ControllerError(f"{path} cannot be read", str(exc)) from exc
    document = _yaml(path, text) if path.suffix in _YAML else _json(path, text)
    lb_id = document.get("id") if isinstance(document, dict) else None
    if not isinstance(lb_id, str) or not is_object_id(lb_id):
        raise ControllerError(
            f"{path} is no load balancer", "at its top it has `id`, the load balancer's UUID"
        )
    return Document(lb_id=lb_id, content=_encoded(path, document))


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise ControllerError(f"{path} is not JSON", f"{exc}; YAML is a file.yaml") from exc


def _yaml(path: Path, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ControllerError(f"{path} is not YAML", "\n  ".join(str(exc).splitlines())) from exc


def _encoded(path: Path, document: Any) -> bytes:
    try:
        return json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError) as exc:
        raise ControllerError(
            f"{path} has a value that JSON has not: {exc}", "put dates and the like in quotes"
        ) from exc
