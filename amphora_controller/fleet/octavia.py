# SPDX-License-Identifier: Apache-2.0
"""Octavia's own API, through openstacksdk: the administrator's part of it, about amphorae."""

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import openstack
from keystoneauth1.exceptions import DiscoveryFailure
from openstack import exceptions
from openstack.connection import Connection
from openstack.load_balancer.v2.amphora import Amphora

from amphora_controller import cloud_errors
from amphora_controller.errors import ControllerError
from amphora_controller.fleet.model import Known, LoadBalancer, Role


@contextmanager
def connected(cloud: str | None) -> Iterator["Octavia"]:
    """The cloud of that name in clouds.yaml, or the one of the OS_* variables.

    Raises:
        ControllerError: there is no such cloud.
    """
    with _told("ask Octavia's API"):
        connection = openstack.connect(cloud=cloud, app_name="amphoractl")
    with connection:
        yield Octavia(connection)


class Octavia:
    """A port of fleet.roll, and what lists need beside it."""

    def __init__(self, connection: Connection) -> None:
        with _told("ask Octavia's API"):
            self._api = connection.load_balancer

    def amphorae(self, load_balancer_id: str | None = None) -> list[Known]:
        """See fleet.roll.Cloud; those that have no address yet are left out."""
        query = {} if load_balancer_id is None else {"loadbalancer_id": load_balancer_id}
        with _told("list amphorae"):
            found = list(self._api.amphorae(**query))
        return [_known(one) for one in found if one.lb_network_ip]

    def load_balancers(self) -> Mapping[str, LoadBalancer]:
        """Every load balancer, by its id."""
        with _told("list load balancers"):
            found = list(self._api.load_balancers())
        return {
            one.id: LoadBalancer(id=one.id, name=one.name or "", status=one.provisioning_status)
            for one in found
        }

    def load_balancer(self, load_balancer_id: str) -> LoadBalancer:
        """See fleet.roll.Cloud."""
        with _told(f"look at load balancer {load_balancer_id}"):
            one = self._api.get_load_balancer(load_balancer_id)
        return LoadBalancer(id=one.id, name=one.name or "", status=one.provisioning_status)

    def fail_over(self, amphora_id: str) -> None:
        """See fleet.roll.Cloud."""
        with _told(f"fail over amphora {amphora_id}"):
            self._api.failover_amphora(amphora_id)


def _known(amphora: Amphora) -> Known:
    role = amphora.role or ""
    return Known(
        id=amphora.id,
        address=amphora.lb_network_ip,
        load_balancer_id=amphora.loadbalancer_id,
        role=Role(role) if role in set(Role) else Role.UNKNOWN,
        status=amphora.status or "",
        image_id=amphora.image_id,
        vip=amphora.ha_ip,
        certificate_until=_time(amphora.cert_expiration),
    )


def _time(text: str | None) -> datetime.datetime | None:
    """A time of Octavia's API: UTC, and it does not say so."""
    return None if not text else datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """Give what openstacksdk raises the words of a command."""
    try:
        yield
    except exceptions.ConflictException as exc:
        raise ControllerError(
            f"{doing}: Octavia works on its load balancer already", str(exc.details or exc.message)
        ) from exc
    except (DiscoveryFailure, exceptions.ServiceDiscoveryException) as exc:
        raise ControllerError(
            f"{doing}: nobody answers there",
            "look whether octavia-api runs, and is in reach of here",
        ) from exc
    except cloud_errors.ERRORS as exc:
        raise cloud_errors.explained(exc, doing) from exc
