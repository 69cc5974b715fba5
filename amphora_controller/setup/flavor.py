# SPDX-License-Identifier: Apache-2.0
"""Nova: the private flavor of amphorae."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amphora_controller.setup import disk_image
from amphora_controller.setup.cloud import Found, Request, Service
from amphora_controller.setup.context import Context
from amphora_controller.setup.steps import Change
from amphora_controller.site_cloud import FlavorSite

# The first one in which a flavor has a description.
_MICROVERSION = "2.55"
# Of the names of flavors; any fixed UUID would do.
_NAMES = uuid.UUID("8f7c4c0e-6f0f-4c0c-9a9b-0f6d4d2f3b61")
# What the image needs that this project builds.
_DISK_GIB = 2


@dataclass(frozen=True, slots=True)
class FlavorStep:
    """The flavor that the site describes.

    Nova never changes a flavor. One that is to change is made anew with the same id, so that
    octavia.conf stays right; servers keep a copy of theirs.
    """

    context: Context
    name = "flavor"

    def changes(self) -> Iterator[Change]:
        """See Step."""
        described = self.context.site.amphora.flavor
        if isinstance(described, str):
            return
        wanted = self._wanted(described)
        found = find_flavor(self.context, described)
        if found is not None and any(found[key] != value for key, value in wanted.items()):
            yield self._delete(found)
            found = None
        if found is None:
            yield self._create(described, wanted)
        properties = self._missing_properties(described)
        if properties:
            yield self.context.change(
                f"set {', '.join(sorted(properties))} of flavor {described.name}",
                self._request(
                    "POST", f"/{flavor_id(self.context)}/os-extra_specs", extra_specs=properties
                ),
            )

    def removals(self) -> Iterator[Change]:
        """See Step."""
        described = self.context.site.amphora.flavor
        if isinstance(described, FlavorSite):
            for found in _named(self.context, described):
                if self.context.is_own(found):
                    yield self._delete(found)

    def _wanted(self, described: FlavorSite) -> dict[str, Any]:
        return {
            "ram": described.ram_mib,
            "vcpus": described.vcpus,
            "disk": described.disk_gib or self._image_disk_gib(),
            "os-flavor-access:is_public": False,
        }

    def _image_disk_gib(self) -> int:
        image = self.context.site.amphora.image
        return _DISK_GIB if image is None else disk_image.read(Path(image.file)).disk_gib

    def _create(self, described: FlavorSite, wanted: Mapping[str, Any]) -> Change:
        body = {
            **wanted,
            "name": described.name,
            "id": str(uuid.uuid5(_NAMES, f"{self.context.site.name}/{described.name}")),
            "description": self.context.mark,
        }
        return self.context.change(
            f"create flavor {described.name}", self._request("POST", "", flavor=body)
        )

    def _missing_properties(self, described: FlavorSite) -> dict[str, str]:
        found = find_flavor(self.context, described)
        there = {} if found is None else found["extra_specs"]
        return {
            key: value for key, value in described.properties.items() if there.get(key) != value
        }

    def _delete(self, found: Found) -> Change:
        return self.context.change(
            f"delete flavor {found['name']}", self._request("DELETE", f"/{found['id']}")
        )

    def _request(self, method: str, path: str, **body: Any) -> Request:
        return Request(
            service=Service.COMPUTE,
            method=method,
            path=f"/flavors{path}",
            body=body or None,
            microversion=_MICROVERSION,
        )


def flavor_id(context: Context) -> str:
    """The id of the site's flavor; see Context.id_of."""
    described = context.site.amphora.flavor
    if isinstance(described, str):
        return described
    what = f"flavor {described.name}"
    return context.id_of(find_flavor(context, described), what, FlavorStep.name)


def find_flavor(context: Context, described: FlavorSite) -> Found | None:
    """The flavor that setup made; None when there is none.

    Raises:
        ControllerError: another one has its name.
    """
    return context.own(_named(context, described), f"flavor {described.name}")


def _named(context: Context, described: FlavorSite) -> list[Found]:
    flavors = context.cloud.find_all(Service.COMPUTE, "/flavors/detail", is_public="none")
    return [found for found in flavors if found["name"] == described.name]
