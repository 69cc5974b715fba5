# SPDX-License-Identifier: Apache-2.0
"""Octavia's real API on a database of its own, and a stand-in for its worker.

Started as `python -m tests.support.octavia_api_peer DIRECTORY` by the interpreter of Octavia's
virtual environment. Prints {"port"}, the port on loopback; then each line of standard input is an
order, {"order", "arguments"}, which is answered by {"result"}.

The API is the application that octavia-api serves, with SQLite and without Keystone
(`auth_strategy = noauth`). It casts failovers into oslo.messaging, as ever. Who gets them here
builds no amphora, but writes into the database what a worker would write: at the end the old
amphora is DELETED, the new one ALLOCATED and the load balancer ACTIVE, or that is in ERROR.
"""
# Octavia and what it brings are not installed where types are checked.
# mypy: disable-error-code="import-not-found,import-untyped,misc"

import json
import sys
import threading
import time
import wsgiref.simple_server
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any

import oslo_messaging
import sqlalchemy
from octavia.api import app as octavia_app
from octavia.common import constants, rpc
from octavia.db import api as database
from octavia.db import base_models, models
from oslo_config import cfg

_BESIDE_DEADLINE_S = 60

_CONFIG = """
[DEFAULT]
log_file = {directory}/octavia.log
transport_url = fake://
[api_settings]
auth_strategy = noauth
enabled_provider_drivers = noop_driver: a driver that does nothing
default_provider_driver = noop_driver
[database]
connection = sqlite:///{directory}/octavia.db
[oslo_policy]
policy_file = {directory}/policy.yaml
"""
_LOOKUPS = (
    (models.ProvisioningStatus, constants.SUPPORTED_PROVISIONING_STATUSES),
    (models.OperatingStatus, constants.SUPPORTED_OPERATING_STATUSES),
    (models.LBTopology, constants.SUPPORTED_LB_TOPOLOGIES),
    (models.AmphoraRoles, constants.SUPPORTED_AMPHORA_ROLES),
)


class Orders:
    """What tests may ask for; every public method is an order."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker

    def clear(self) -> None:
        """Take every load balancer and amphora out of the database, and forget failovers."""
        session = database.get_session()
        with session.begin():
            for table in (models.Amphora, models.Vip, models.LoadBalancer):
                session.query(table).delete()
        self._worker.outcomes.clear()
        self._worker.begun.clear()
        self._worker.done.clear()

    def add(self, load_balancers: list[dict[str, Any]], amphorae: list[dict[str, Any]]) -> None:
        """Put rows into the database, by the names of its columns; `vip` is an address."""
        session = database.get_session()
        with session.begin():
            for row in load_balancers:
                vip = row.pop("vip")
                session.add(
                    models.LoadBalancer(
                        operating_status="ONLINE",
                        enabled=True,
                        provider="noop_driver",
                        project_id="project",
                        **row,
                    )
                )
                session.flush()
                session.add(models.Vip(load_balancer_id=row["id"], ip_address=vip))
            for row in amphorae:
                session.add(models.Amphora(**row))

    def set_status(self, load_balancer_id: str, status: str) -> None:
        """Give a load balancer another provisioning status."""
        session = database.get_session()
        with session.begin():
            found = session.get(models.LoadBalancer, load_balancer_id)
            found.provisioning_status = status

    def expect(self, amphora_id: str, outcome: dict[str, Any]) -> None:
        """What a failover of an amphora will come to.

        `beside`: another amphora, whose failover must be going on as well; `delay_s`; `fails`; or
        the columns of the `replacement` that differ.
        """
        self._worker.outcomes[amphora_id] = outcome

    def failovers(self) -> list[dict[str, Any]]:
        """Those so far: amphora, load balancer, and when they began and ended."""
        return self._worker.done


class Worker:
    """What takes failovers in the place of octavia-worker."""

    target = oslo_messaging.Target(
        namespace=constants.RPC_NAMESPACE_CONTROLLER_AGENT, version="2.0"
    )

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.begun: set[str] = set()
        self.done: list[dict[str, Any]] = []

    def failover_amphora(self, _context: object, amphora_id: str) -> None:
        """See octavia.controller.queue.v2.endpoints."""
        begun = time.monotonic()
        outcome = self.outcomes[amphora_id]
        self.begun.add(amphora_id)
        while outcome.get("beside", amphora_id) not in self.begun:
            if time.monotonic() > begun + _BESIDE_DEADLINE_S:
                raise RuntimeError(f"{amphora_id} is failed over alone")
            time.sleep(0.05)
        time.sleep(outcome.get("delay_s", 0))
        session = database.get_session()
        with session.begin():
            old = session.get(models.Amphora, amphora_id)
            balancer = session.get(models.LoadBalancer, old.load_balancer_id)
            record = {"amphora": amphora_id, "load_balancer": balancer.id, "begun": begun}
            if outcome.get("fails"):
                balancer.provisioning_status = "ERROR"
            else:
                kept = ("load_balancer_id", "role", "ha_ip", "image_id", "status")
                columns = {name: getattr(old, name) for name in kept}
                session.add(models.Amphora(**{**columns, **outcome["replacement"]}))
                old.status = "DELETED"
                balancer.provisioning_status = "ACTIVE"
        self.done.append({**record, "ended": time.monotonic()})


class _Server(ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(directory: Path) -> None:
    """Serve until standard input ends."""
    (directory / "policy.yaml").write_text("{}\n")
    config = directory / "octavia.conf"
    config.write_text(_CONFIG.format(directory=directory))
    application = octavia_app.setup_app(argv=["octavia-api", "--config-file", str(config)])
    _make_database()
    worker = Worker()
    rpc_server = rpc.get_server(
        oslo_messaging.Target(topic=constants.TOPIC_AMPHORA_V2, server="stand-in"), [worker]
    )
    rpc_server.start()
    server = wsgiref.simple_server.make_server(
        "127.0.0.1", 0, application, server_class=_Server, handler_class=_Handler
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    orders = Orders(worker)
    for line in sys.stdin:
        asked = json.loads(line)
        result = getattr(orders, asked["order"])(**asked["arguments"])
        print(json.dumps({"result": result}), flush=True)
    server.shutdown()
    rpc_server.stop()
    rpc_server.wait()


def _make_database() -> None:
    cfg.CONF.set_override("pool_timeout", None, "database")
    engine = database.get_engine()
    base_models.BASE.metadata.create_all(engine)
    sqlalchemy.event.listen(engine, "begin", _take_turns)
    session = database.get_session()
    with session.begin():
        for table, names in _LOOKUPS:
            session.add_all(table(name=name) for name in names)


def _take_turns(connection: sqlalchemy.Connection) -> None:
    """Have a transaction wait for others when it begins, in SQLite's way: by writing nothing.

    SQLite refuses a transaction that has read and wants to write while another one does; a server
    of databases would let it wait.
    """
    connection.exec_driver_sql("DELETE FROM amphora WHERE 0")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
