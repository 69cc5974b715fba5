# SPDX-License-Identifier: Apache-2.0
"""Glance: the image with the tag by which Octavia finds it.

Octavia takes the newest active image of the tag. So a new one gets it after its content was
compared, and older ones lose it after that: at no time there is none, or one that is not whole.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amphora_controller.errors import ControllerError
from amphora_controller.setup import disk_image
from amphora_controller.setup.cloud import Found, Request, Service, quoted
from amphora_controller.setup.context import Context
from amphora_controller.setup.disk_image import DiskImage
from amphora_controller.setup.steps import Change
from amphora_controller.site_cloud import ImageSite, OldImages

# Of the file, by algorithm.
Digest = Callable[[str], str]

# Glance has no description of an image. A property of this name holds the site's.
_MARK = "amphoractl_site"
_ACTIVE = "active"
# While these last, an upload was broken off or is under way.
_UNFINISHED = frozenset({"queued", "saving", "uploading", "importing", "killed"})


@dataclass(frozen=True, slots=True)
class ImageStep:
    """The image of the site's file, uploaded and compared; older ones lose the tag."""

    context: Context
    name = "image"

    def changes(self) -> Iterator[Change]:
        """See Step."""
        described = self.context.site.amphora.image
        if described is None:
            return
        source = disk_image.read(Path(described.file))
        digest = cache(source.digest)
        self._refuse_others(described)
        for found in self._mine():
            if found["status"] in _UNFINISHED:
                yield self._delete(found, "unfinished image")
        if self._current(digest) is None:
            yield self._create(described, source)
            yield self._upload(described, source)
        current = self._current(digest)
        if current is not None:
            yield from self._properties(described, current)
        tag = self.context.site.amphora.image_tag
        if current is None or tag not in current["tags"]:
            yield self._tag(current, described)
        yield from self._old(described, digest)

    def removals(self) -> Iterator[Change]:
        """See Step."""
        if self.context.project() is not None:
            for found in self._mine():
                yield self._delete(found, "image")

    def _old(self, described: ImageSite, digest: Digest) -> Iterator[Change]:
        current = self._current(digest)
        tag = self.context.site.amphora.image_tag
        for found in self._mine():
            if found["status"] != _ACTIVE or (current is not None and found["id"] == current["id"]):
                continue
            if described.old is OldImages.DELETE:
                yield self._delete(found, "older image")
            elif tag in found["tags"]:
                yield self.context.change(
                    f"take the tag {tag} from older image {found['id']}",
                    self._request("DELETE", f"/{found['id']}/tags/{quoted(tag)}"),
                )

    def _current(self, digest: Digest) -> Found | None:
        """The active image that has the file's content."""
        for found in self._mine():
            if found["status"] == _ACTIVE and found["os_hash_value"] == digest(
                found["os_hash_algo"]
            ):
                return found
        return None

    def _create(self, described: ImageSite, source: DiskImage) -> Change:
        body = {
            **described.properties,
            _MARK: self.context.site.name,
            "name": described.name,
            "owner": self.context.project_id(),
            "visibility": "private",
            "disk_format": source.disk_format,
            "container_format": "bare",
        }
        return self.context.change(
            f"create image {described.name}",
            Request(service=Service.IMAGE, method="POST", path="/images", body=body),
        )

    def _upload(self, described: ImageSite, source: DiskImage) -> Change:
        fresh = next((found for found in self._mine() if found["status"] == "queued"), None)
        image_id = self.context.id_of(fresh, f"image {described.name}", self.name)
        request = Request(
            service=Service.IMAGE, method="PUT", path=f"/images/{image_id}/file", file=source.path
        )

        def do() -> None:
            self.context.cloud.send(request)
            self._compare(image_id, source)

        return Change(
            what=f"upload {source.path} ({source.path.stat().st_size >> 20} MiB) and compare it",
            detail=str(request),
            do=do,
        )

    def _compare(self, image_id: str, source: DiskImage) -> None:
        found = self.context.cloud.find(Service.IMAGE, f"/images/{image_id}")
        if found is None or found["status"] != _ACTIVE:
            raise ControllerError(
                f"Glance has no active image {image_id} after the upload", "look at Glance's log"
            )
        if found["os_hash_value"] != source.digest(found["os_hash_algo"]):
            self.context.cloud.send(self._request("DELETE", f"/{image_id}"))
            raise ControllerError(
                f"image {image_id} does not have the content of {source.path}; it was removed",
                "did the file change during the upload? run again",
            )

    def _properties(self, described: ImageSite, current: Found) -> Iterator[Change]:
        wanted: Mapping[str, str] = {**described.properties, "name": described.name}
        different = {key: value for key, value in wanted.items() if current.get(key) != value}
        if different:
            operations = [
                {"op": "replace" if key in current else "add", "path": f"/{key}", "value": value}
                for key, value in different.items()
            ]
            yield self.context.change(
                f"set {', '.join(sorted(different))} of image {described.name}",
                Request(
                    service=Service.IMAGE,
                    method="PATCH",
                    path=f"/images/{current['id']}",
                    body=operations,
                ),
            )

    def _tag(self, current: Found | None, described: ImageSite) -> Change:
        tag = self.context.site.amphora.image_tag
        image_id = self.context.id_of(current, f"image {described.name}", self.name)
        return self.context.change(
            f"give image {described.name} the tag {tag}",
            self._request("PUT", f"/{image_id}/tags/{quoted(tag)}"),
        )

    def _refuse_others(self, described: ImageSite) -> None:
        """Others of the tag or the name in the same project would be taken for ours."""
        tag = self.context.site.amphora.image_tag
        for key, value in (("tag", tag), ("name", described.name)):
            for found in self._images(**{key: value}):
                if not self._is_mine(found):
                    raise self.context.refusal(found, f"an image with the {key} {value}")

    def _mine(self) -> list[Found]:
        return [found for found in self._images() if self._is_mine(found)]

    def _is_mine(self, found: Found) -> bool:
        return found.get(_MARK) == self.context.site.name

    def _images(self, **query: str) -> Iterator[Found]:
        return self.context.cloud.find_all(
            Service.IMAGE, "/images", owner=self.context.project_id(), **query
        )

    def _delete(self, found: Found, what: str) -> Change:
        return self.context.change(
            f"delete {what} {found['id']}", self._request("DELETE", f"/{found['id']}")
        )

    def _request(self, method: str, path: str) -> Request:
        return Request(service=Service.IMAGE, method=method, path=f"/images{path}")
