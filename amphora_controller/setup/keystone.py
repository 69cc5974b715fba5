# SPDX-License-Identifier: Apache-2.0
"""Keystone: who Octavia is, where its API answers, and the roles of its users."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keystoneauth1 import exceptions as auth
from keystoneauth1.identity import Password
from keystoneauth1.session import Session

from amphora_controller.errors import ControllerError
from amphora_controller.setup.cloud import Found, Request, Service
from amphora_controller.setup.context import Context
from amphora_controller.setup.steps import Change

_SERVICE_TYPE = "load-balancer"
_SERVICE_NAME = "octavia"
# Octavia's own policies name them (octavia.policies.base).
_ROLES = tuple(
    f"load-balancer_{kind}"
    for kind in ("observer", "global_observer", "member", "quota_admin", "admin")
)
_ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class KeystoneStep:
    """The project, the user and its role, the service with three endpoints, five roles.

    A project and roles that are there already are used as they are, and stay.
    """

    context: Context
    name = "keystone"

    def changes(self) -> Iterator[Change]:
        """See Step."""
        yield from self._project()
        yield from self._user()
        yield from self._assignment()
        yield from self._service()
        yield from self._endpoints()
        for role in _ROLES:
            if self._find("/roles", name=role) is None:
                yield self._create("role", "/roles", name=role)

    def removals(self) -> Iterator[Change]:
        """See Step; the project stays while others than Octavia have roles in it."""
        for role in reversed(_ROLES):
            yield from self._delete("role", "/roles", self._find("/roles", name=role))
        # Its endpoints go with it.
        service = self._find("/services", type=_SERVICE_TYPE)
        yield from self._delete("service", "/services", service)
        yield from self._delete("user", "/users", named_user(self.context))
        project = self.context.project()
        if project is not None and not self._is_used(project):
            yield from self._delete("project", "/projects", project)

    def _project(self) -> Iterator[Change]:
        keystone = self.context.site.keystone
        if self.context.project() is None:
            domain = self.context.domain_id(keystone.project_domain)
            yield self._create("project", "/projects", name=keystone.project, domain_id=domain)

    def _user(self) -> Iterator[Change]:
        keystone = self.context.site.keystone
        found = own_user(self.context)
        if found is None:
            yield self._create(
                "user",
                "/users",
                name=keystone.username,
                domain_id=self.context.domain_id(keystone.user_domain),
                default_project_id=self.context.project_id(),
                password=keystone.password,
            )
            return
        if not found["enabled"]:
            yield self._update("enable", "user", found, enabled=True)
        if not self._has_password(found):
            yield self._update("set the password of", "user", found, password=keystone.password)

    def _assignment(self) -> Iterator[Change]:
        role = self._find("/roles", name=_ADMIN)
        if role is None:
            raise ControllerError(
                f"Keystone has no role {_ADMIN}", "keystone-manage bootstrap makes it"
            )
        keystone = self.context.site.keystone
        project = self.context.project_id()
        user = user_id(self.context)
        there = self.context.cloud.find_all(
            Service.IDENTITY, "/role_assignments", **{"user.id": user, "scope.project.id": project}
        )
        if not any(found["role"]["id"] == role["id"] for found in there):
            yield self.context.change(
                f"give user {keystone.username} the role {_ADMIN} in project {keystone.project}",
                Request(
                    service=Service.IDENTITY,
                    method="PUT",
                    path=f"/projects/{project}/users/{user}/roles/{role['id']}",
                ),
            )

    def _service(self) -> Iterator[Change]:
        if self._own_service() is None:
            yield self._create("service", "/services", name=_SERVICE_NAME, type=_SERVICE_TYPE)

    def _endpoints(self) -> Iterator[Change]:
        region = self.context.site.keystone.region or self.context.cloud.region
        service = self.context.id_of(self._own_service(), f"service {_SERVICE_TYPE}", self.name)
        there = list(
            self.context.cloud.find_all(Service.IDENTITY, "/endpoints", service_id=service)
        )
        for interface, url in self._urls().items():
            found = next(
                (
                    endpoint
                    for endpoint in there
                    if (endpoint["interface"], endpoint["region_id"]) == (interface, region)
                ),
                None,
            )
            if found is None:
                body = {"interface": interface, "url": url, "service_id": service}
                yield self._create("endpoint", "/endpoints", shown=interface,
                                   **body, region_id=region)  # fmt: skip
            elif found["url"] != url:
                yield self._update("change the address of", "endpoint", found, interface, url=url)

    def _urls(self) -> Mapping[str, str]:
        stated = self.context.site.endpoints
        if stated is None:
            public = f"http://{self.context.site.controllers[0].name}:9876"
            return {"public": public, "internal": public, "admin": public}
        internal = stated.internal or stated.public
        return {"public": stated.public, "internal": internal, "admin": stated.admin or internal}

    def _own_service(self) -> Found | None:
        there = self.context.cloud.find_all(Service.IDENTITY, "/services", type=_SERVICE_TYPE)
        return self.context.own(there, f"service of type {_SERVICE_TYPE}")

    def _has_password(self, user: Found) -> bool:
        """Whether the user can log in as the site says; the only way to find out."""
        session = self.context.cloud.connection.session
        plugin = Password(
            self.context.cloud.auth_url,
            user_id=user["id"],
            password=self.context.site.keystone.password,
        )
        try:
            Session(auth=plugin, verify=session.verify, cert=session.cert).get_token()
        except auth.Unauthorized:
            return False
        return True

    def _is_used(self, project: Found) -> bool:
        assignments = self.context.cloud.find_all(
            Service.IDENTITY, "/role_assignments", **{"scope.project.id": project["id"]}
        )
        user = named_user(self.context)
        own = user["id"] if user is not None and self.context.is_own(user) else None
        return any(found.get("user", {}).get("id") != own for found in assignments)

    def _find(self, path: str, **query: str) -> Found | None:
        return next(self.context.cloud.find_all(Service.IDENTITY, path, **query), None)

    def _create(self, kind: str, path: str, *, shown: str = "", **body: Any) -> Change:
        return self.context.change(
            f"create {kind} {shown or body['name']}",
            Request(
                service=Service.IDENTITY,
                method="POST",
                path=path,
                body={kind: {**body, "description": self.context.mark}},
            ),
        )

    def _update(self, doing: str, kind: str, found: Found, shown: str = "", **body: Any) -> Change:
        return self.context.change(
            f"{doing} {kind} {shown or found['name']}",
            Request(
                service=Service.IDENTITY,
                method="PATCH",
                path=f"/{kind}s/{found['id']}",
                body={kind: body},
            ),
        )

    def _delete(self, kind: str, path: str, found: Found | None) -> Iterator[Change]:
        if found is not None and self.context.is_own(found):
            yield self.context.change(
                f"delete {kind} {found['name']}",
                Request(service=Service.IDENTITY, method="DELETE", path=f"{path}/{found['id']}"),
            )


def own_user(context: Context) -> Found | None:
    """Octavia's own user if setup made it; None when there is none.

    Raises:
        ControllerError: another one has its name.
    """
    found = named_user(context)
    return context.own([] if found is None else [found], f"user {context.site.keystone.username}")


def user_id(context: Context) -> str:
    """Its id, whoever made it; see Context.id_of."""
    what = f"user {context.site.keystone.username}"
    return context.id_of(named_user(context), what, KeystoneStep.name)


def named_user(context: Context) -> Found | None:
    """The user of that name, whoever made it; None when there is none."""
    keystone = context.site.keystone
    domain = context.domain_id(keystone.user_domain)
    users = context.cloud.find_all(
        Service.IDENTITY, "/users", name=keystone.username, domain_id=domain
    )
    return next(users, None)
