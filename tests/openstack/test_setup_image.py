# SPDX-License-Identifier: Apache-2.0
"""The image step with a real Glance: what has the tag, and what a broken upload leaves."""

import os
import secrets

import pytest
from openstack.connection import Connection

from amphora_controller.setup import engine
from amphora_controller.setup.cloud import Cloud, Found, Request
from amphora_controller.setup.image import ImageStep
from tests.support.openstack.operator import Operator

# Takes Glance long enough to be met in the middle.
_LARGE_BYTES = 400 << 20


def images(admin: Connection) -> dict[bytes, tuple[str, ...]]:
    """Tags of each active image of the site's name, by its content."""
    found = [image for image in admin.image.images(name="amphora-x64-haproxy")]
    assert {image.status for image in found} <= {"active"}
    return {admin.image.download_image(image.id).content: tuple(image.tags) for image in found}


def test_newer_image_takes_the_tag(operator: Operator) -> None:
    """The newest upload alone has the tag; the one before is kept, and has it again if asked."""
    first = operator.image.read_bytes()
    assert operator.run("setup", "image").status == 0
    second = secrets.token_bytes(1 << 20)
    operator.image.write_bytes(second)
    newer = operator.run("setup", "image")
    assert newer.status == 0, newer.output
    with operator.cloud.connection(operator.cloud.name) as admin:
        assert images(admin) == {first: (), second: ("amphora",)}
    lines = newer.output.splitlines()
    tagged = next(index for index, line in enumerate(lines) if "give image" in line)
    untagged = next(index for index, line in enumerate(lines) if "take the tag" in line)
    assert tagged < untagged
    operator.image.write_bytes(first)
    back = operator.run("setup", "image")
    assert (back.status, "upload" in back.output) == (0, False), back.output
    with operator.cloud.connection(operator.cloud.name) as admin:
        assert images(admin) == {first: ("amphora",), second: ()}
    operator.change(amphora__image__old="delete")
    assert operator.run("setup", "image").status == 0
    with operator.cloud.connection(operator.cloud.name) as admin:
        assert images(admin) == {first: ("amphora",)}
    assert operator.run("setup", "image").output.endswith("nothing to do\n")


def test_upload_that_is_broken_off_is_made_good(operator: Operator) -> None:
    """A run that is killed in an upload leaves an image without tag; the next one replaces it."""
    os.truncate(operator.image, _LARGE_BYTES)
    with operator.start("setup", "image") as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "upload" in line:
                break
        running.kill()
    with operator.cloud.connection(operator.cloud.name) as admin:
        (left,) = admin.image.images(name="amphora-x64-haproxy")
        assert (left.status == "active", left.tags) == (False, [])
    again = operator.run("setup", "image")
    assert again.status == 0, again.output
    assert f"delete unfinished image {left.id}" in again.output
    with operator.cloud.connection(operator.cloud.name) as admin:
        (whole,) = admin.image.images(name="amphora-x64-haproxy")
        assert (whole.status, whole.size, whole.tags) == ("active", _LARGE_BYTES, ["amphora"])


class Meddler(Cloud):
    """A cloud during whose uploads somebody builds the image anew."""

    def send(self, request: Request) -> Found:
        """See Cloud."""
        answer = super().send(request)
        if request.file is not None:
            request.file.write_bytes(b"another content")
        return answer


@pytest.mark.parametrize(("kind", "is_taken"), [(Cloud, True), (Meddler, False)])
def test_image_with_another_content_gets_no_tag(
    operator: Operator, kind: type[Cloud], is_taken: bool
) -> None:
    """An image whose digest is not that of the file is removed again, and the run fails."""
    operator.steps.add("image")
    with operator.context(kind) as context:
        step = ImageStep(context)
        outcomes = engine.run([step], lambda step: step.changes(), dry_run=False, say=print)
    (outcome,) = outcomes
    assert (outcome.error is None) == is_taken
    if outcome.error is not None:
        assert "does not have the content of" in outcome.error.message
    with operator.cloud.connection(operator.cloud.name) as admin:
        assert len(list(admin.image.images(name="amphora-x64-haproxy"))) == is_taken
