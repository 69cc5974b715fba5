# SPDX-License-Identifier: Apache-2.0
"""The cloud as an administrator meets it: one door for all requests.

A change is sent exactly as a dry run shows it. Credentials and addresses come from clouds.yaml or
the variables OS_*, as openstacksdk reads them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import openstack
from openstack import exceptions
from openstack.connection import Connection
from openstack.proxy import Proxy

# A resource as its service tells it.
Found = Mapping[str, Any]

_SECRETS = frozenset({"password"})

_BYTES = "application/octet-stream"
_PATCH = "application/openstack-images-v2.1-json-patch"


class Service(StrEnum):
    """A service of the catalogue."""

    COMPUTE = "compute"
    IDENTITY = "identity"
    IMAGE = "image"
    NETWORK = "network"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request that changes something.

    Attributes:
        path: below the service's versioned address.
        body: of JSON: an object, or a list of operations (RFC 6902, for Glance).
        file: sent instead of a body.
        microversion: of Nova's API.
    """

    service: Service
    method: str
    path: str
    body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = field(default=None, repr=False)
    file: Path | None = None
    microversion: str | None = None

    def __str__(self) -> str:
        """The request as a line, without secrets."""
        line = f"{self.service}: {self.method} {self.path}"
        if self.microversion is not None:
            line += f" (version {self.microversion})"
        if self.file is not None:
            return f"{line} < {self.file}"
        return (
            line
            if self.body is None
            else f"{line} {json.dumps(_without_secrets(self.body), ensure_ascii=False)}"
        )


class Cloud:
    """A cloud, connected when it is first asked something.

    What its services refuse is raised as cloud_errors.ERRORS.
    """

    def __init__(self, name: str | None) -> None:
        """Connect later.

        Args:
            name: an entry of clouds.yaml; None takes OS_CLOUD or the other variables OS_*.
        """
        self._name = name

    @cached_property
    def connection(self) -> Connection:
        """See above; the services' own part is in _proxy."""
        return openstack.connect(cloud=self._name, app_name="amphoractl")

    def find_all(self, service: Service, path: str, **query: str) -> Iterator[Found]:
        """What a list has, page after page.

        Args:
            path: of the list; its last part (before `detail`) names the list in the answer.
            query: what the service is to look for.
        """
        key = path.removesuffix("/detail").rpartition("/")[2].replace("-", "_")
        following: str | None = f"{path}?{urlencode(query)}" if query else path
        while following is not None:
            page = self._asked(service, following)
            yield from page[key]
            following = _next_page(page, key, path)

    def find(self, service: Service, path: str) -> Found | None:
        """One resource; None when there is none."""
        try:
            return self._asked(service, path)
        except exceptions.NotFoundException:
            return None

    def send(self, request: Request) -> Found:
        """Do what a request says; the answer, empty if it has no JSON."""
        if request.file is not None:
            with request.file.open("rb") as stream:
                return self._sent(request, data=stream, headers=_content(_BYTES))
        if isinstance(request.body, Sequence):
            return self._sent(request, json=request.body, headers=_content(_PATCH))
        return self._sent(request, json=request.body)

    @property
    def region(self) -> str | None:
        """The region that these credentials are of."""
        region = self.connection.config.get_region_name()
        return None if region is None else str(region)

    @property
    def auth_url(self) -> str:
        """Where Keystone answers."""
        return str(self.connection.config.get_auth_args()["auth_url"])

    def _asked(self, service: Service, path: str) -> dict[str, Any]:
        # Versions that tell descriptions of flavors and owners of keypairs.
        microversion = "2.61" if service is Service.COMPUTE else None
        return self._sent(
            Request(service=service, method="GET", path=path, microversion=microversion)
        )

    def _sent(self, request: Request, **content: Any) -> dict[str, Any]:
        response = self._proxy(request.service).request(
            request.path, request.method, microversion=request.microversion, **content
        )
        exceptions.raise_from_response(response)
        kind = response.headers.get("Content-Type", "")
        if not response.content or not kind.startswith("application/json"):
            return {}
        answer: dict[str, Any] = response.json()
        return answer

    def _proxy(self, service: Service) -> Proxy:
        proxy: Proxy = getattr(self.connection, service)
        return proxy


def quoted(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def _next_page(page: Mapping[str, Any], key: str, path: str) -> str | None:
    """The path of the following page: Glance tells it at the top, Neutron and Nova in links."""
    links = page.get(f"{key}_links") or []
    address = page.get("next") or next(
        (link["href"] for link in links if link.get("rel") == "next"), None
    )
    return None if address is None else f"{path}?{urlsplit(str(address)).query}"


def _content(kind: str) -> dict[str, str]:
    return {"Content-Type": kind}


def _without_secrets(body: Any) -> Any:
    if isinstance(body, Mapping):
        return {
            key: "…" if key in _SECRETS else _without_secrets(value) for key, value in body.items()
        }
    return body
