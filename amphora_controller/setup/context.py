# SPDX-License-Identifier: Apache-2.0
"""What every step gets: the site, the host that it runs on, the cloud."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from amphora_controller.errors import ControllerError
from amphora_controller.setup.cloud import Cloud, Found, Request, Service
from amphora_controller.setup.steps import Change
from amphora_controller.site import Controller, Site


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """One run.

    Attributes:
        source: name of the site's file, for files that are made from it.
        host: this host's name among the site's controllers.
        dry_run: nothing that is told will be done.
        with_certificates: certificates are removed, too.
        with_database: the database is removed, too.
        known: ids of domains and the project, which stay what they are during a run.
    """

    site: Site
    source: str
    host: str
    cloud: Cloud
    dry_run: bool = False
    with_certificates: bool = False
    with_database: bool = False
    known: dict[str, str] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """Stands in the description of everything that is made."""
        return f"Made by amphoractl for site {self.site.name}"

    @property
    def controller(self) -> Controller:
        """This host.

        Raises:
            ControllerError: the site does not name it.
        """
        return self.site.controller(self.host)

    def change(self, what: str, request: Request) -> Change:
        """A change that one request makes."""

        def do() -> None:
            self.cloud.send(request)

        return Change(what=what, detail=str(request), do=do)

    def is_own(self, found: Found) -> bool:
        """Whether setup made a resource that has a description."""
        return found.get("description") == self.mark

    def own(
        self, candidates: Iterable[Found], what: str, is_own: Callable[[Found], bool] | None = None
    ) -> Found | None:
        """The one of its name that setup made; None when the name is free.

        Args:
            candidates: all that have the name.
            what: "network lb-mgmt-net".
            is_own: tells it by other means than the description.

        Raises:
            ControllerError: somebody else's has the name, or two of our own have.
        """
        there = list(candidates)
        mine = [found for found in there if (is_own or self.is_own)(found)]
        if len(mine) > 1:
            ids = ", ".join(str(found["id"]) for found in mine)
            raise ControllerError(
                f"there are two of {what}, both made by amphoractl: {ids}",
                "remove the one that nothing uses",
            )
        if mine:
            return mine[0]
        if there:
            raise self.refusal(there[0], what)
        return None

    def refusal(self, found: Found, what: str) -> ControllerError:
        """The error where somebody else's resource has a name that the site asks for."""
        return ControllerError(
            f"{what} ({found['id']}) is there already, and amphoractl did not make it for "
            f"site {self.site.name}; it was not touched",
            "give another name in the site's file, or remove it if nobody needs it",
        )

    def id_of(self, found: Found | None, what: str, step: str) -> str:
        """The id of a resource; a dry run has something in its place.

        Args:
            what: "network lb-mgmt-net".
            step: makes it.

        Raises:
            ControllerError: it is not there.
        """
        if found is not None:
            return str(found["id"])
        if self.dry_run:
            return f"<id of {what}>"
        raise ControllerError(f"there is no {what}", f"amphoractl setup {step} makes it")

    def project(self) -> Found | None:
        """The project of Octavia's own user, to which all belongs that amphorae need."""
        keystone = self.site.keystone
        domain = self.domain_id(keystone.project_domain)
        found = self.cloud.find_all(
            Service.IDENTITY, "/projects", name=keystone.project, domain_id=domain
        )
        return next(found, None)

    def project_id(self) -> str:
        """Its id; see id_of."""
        what = f"project {self.site.keystone.project}"
        if what not in self.known:
            found = self.project()
            if found is None:
                return self.id_of(None, what, "keystone")
            self.known[what] = found["id"]
        return self.known[what]

    def domain_id(self, name: str) -> str:
        """The id of a domain of Keystone.

        Raises:
            ControllerError: there is none.
        """
        what = f"domain {name}"
        if what not in self.known:
            for found in self.cloud.find_all(Service.IDENTITY, "/domains", name=name):
                self.known[what] = found["id"]
        if what in self.known:
            return self.known[what]
        raise ControllerError(
            f"Keystone has no domain {name}", "look at keystone.user_domain and project_domain"
        )
