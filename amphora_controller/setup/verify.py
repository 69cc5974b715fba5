# SPDX-License-Identifier: Apache-2.0
"""Whether all is there and fits together; nothing is changed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from keystoneauth1.exceptions import ConnectionError as Unreachable

from amphora_controller import cloud_errors, octavia_file, text_file
from amphora_controller.errors import ControllerError
from amphora_controller.setup import groups, network, rules
from amphora_controller.setup.cloud import Found, Service
from amphora_controller.setup.config import file_problems, rendered
from amphora_controller.setup.context import Context
from amphora_controller.setup.ids import cloud_ids
from amphora_controller.setup.services import unit_names
from amphora_controller.setup.steps import Change
from amphora_controller.units import SystemdUnits, Units

_ANSWER_S = 10.0
_PAUSE_S = 0.5
_ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class VerifyStep:
    """What can be asked: image, flavor, network, groups, octavia.conf, files, the API.

    Before a teardown: whether load balancers still use what would be removed.

    Attributes:
        start_s: for so many seconds a service that was just started may not answer.
    """

    context: Context
    units: Units = field(default_factory=SystemdUnits)
    start_s: float = 30.0
    name: str = field(default="verify", init=False)

    def changes(self) -> Iterator[Change]:
        """Nothing; every problem there is makes one error.

        Raises:
            ControllerError: something is wrong.
        """
        problems: list[str] = []
        for look in (self._cloud, self._groups, self._conf, self._files, self._api):
            problems += self._found(look)
        if problems:
            raise ControllerError("not all is as it should be", "\n".join(dict.fromkeys(problems)))
        return iter(())

    def removals(self) -> Iterator[Change]:
        """Nothing.

        Raises:
            ControllerError: amphorae have ports in the management network.
        """
        network.refuse_if_used(self.context)
        return iter(())

    def _found(self, look: Callable[[], Iterator[str]]) -> list[str]:
        """What one look finds; that it cannot look is a problem, too."""
        try:
            return list(look())
        except ControllerError as exc:
            return [str(exc)]
        except cloud_errors.ERRORS as exc:
            return [str(cloud_errors.explained(exc, "verify"))]

    def _cloud(self) -> Iterator[str]:
        ids = cloud_ids(self.context)
        for network_id in ids.networks:
            if self.context.cloud.find(Service.NETWORK, f"/networks/{network_id}") is None:
                yield f"there is no network {network_id}"
        for group in ids.security_groups:
            if self.context.cloud.find(Service.NETWORK, f"/security-groups/{group}") is None:
                yield f"there is no security group {group}"
        if self.context.cloud.find(Service.COMPUTE, f"/flavors/{ids.flavor}") is None:
            yield f"there is no flavor {ids.flavor}"
        yield from self._images(ids.image_owner)

    def _images(self, owner: str) -> Iterator[str]:
        tag = self.context.site.amphora.image_tag
        query = {"owner": owner} if owner else {}
        found = list(self.context.cloud.find_all(Service.IMAGE, "/images", tag=tag, **query))
        active = [image for image in found if image["status"] == _ACTIVE]
        whose = f" of project {owner}" if owner else ""
        if len(active) != 1:
            ids = ", ".join(str(image["id"]) for image in active) or "none"
            yield f"one active image{whose} is to have the tag {tag}; there are: {ids}"
        for image in found:
            if image["status"] != _ACTIVE:
                yield f"image {image['id']} with the tag {tag} is {image['status']}"

    def _groups(self) -> Iterator[str]:
        management = self.context.site.management
        networks = tuple(groups.subnets(self.context))
        wanted = {management.controller_group: rules.controller_rules(self.context.site, networks)}
        if not management.security_groups:
            wanted[management.amphora_group] = rules.amphora_rules(self.context.site, networks)
        for name, those in wanted.items():
            missing, extra = groups.differences(self.context, name, those)
            for rule in missing:
                yield f"security group {name} lacks: {rule}"
            for found in extra:
                yield f"security group {name} has a rule too many: {_shown(found)}"

    def _conf(self) -> Iterator[str]:
        path = Path(self.context.site.octavia.conf)
        there, wanted = text_file.read(path), rendered(self.context)
        if there != wanted:
            changed = octavia_file.difference(there, wanted, path)
            yield f"{path} is not what the site and the cloud ask for:\n{changed}".rstrip("\n")

    def _files(self) -> Iterator[str]:
        return file_problems(self.context.site)

    def _api(self) -> Iterator[str]:
        """The API is asked by its public address; that nothing answers is right where none runs."""
        url = self._public_url()
        if url is None:
            yield "the catalogue has no public endpoint of type load-balancer"
            return
        status = self._status(url)
        if status is None:
            for unit in filter(self._runs, self._api_units()):
                yield f"{unit} runs, but {url} does not answer; look at its log"
        elif status >= HTTPStatus.BAD_REQUEST:
            yield f"{url} answers with status {status}; look at Octavia's log"

    def _status(self, url: str) -> int | None:
        """Of an answer; None where there is none. A service that runs has some time to begin."""
        session = self.context.cloud.connection.session
        given_up = time.monotonic() + self.start_s
        while True:
            try:
                answer = session.get(url, authenticated=False, raise_exc=False, timeout=_ANSWER_S)
            except Unreachable:
                if time.monotonic() > given_up or not any(map(self._runs, self._api_units())):
                    return None
                time.sleep(_PAUSE_S)
            else:
                return int(answer.status_code)

    def _public_url(self) -> str | None:
        region = self.context.site.keystone.region or self.context.cloud.region
        query = {} if region is None else {"region_id": region}
        services = self.context.cloud.find_all(Service.IDENTITY, "/services", type="load-balancer")
        for service in services:
            for endpoint in self.context.cloud.find_all(
                Service.IDENTITY,
                "/endpoints",
                service_id=service["id"],
                interface="public",
                **query,
            ):
                return str(endpoint["url"])
        return None

    def _api_units(self) -> list[str]:
        services = self.context.site.services
        return [unit for unit in unit_names(services) if "api" in unit] if services else []

    def _runs(self, unit: str) -> bool:
        return self.units.state(unit).is_active


def _shown(rule: Found) -> str:
    return str(rules.told(rule) or rule["id"])
