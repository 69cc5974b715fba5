# SPDX-License-Identifier: Apache-2.0
"""Octavia's own health manager with an SQLite database, driven by JSON lines.

Started as `python -m tests.support.octavia_health_peer DATABASE KEY TIMEOUT_S` by the interpreter
of Octavia's virtual environment. A request is {"operation", "arguments"}; its answer is
{"result"} or {"error"}. What it decides is decided by `UpdateHealthDb` and by the repositories.
"""
# Octavia and what it brings are not installed where types are checked.
# mypy: disable-error-code="import-not-found,import-untyped,misc"

import base64
import json
import sys
import time
from typing import Any

from octavia.amphorae.backends.health_daemon import status_message
from octavia.amphorae.drivers.health import heartbeat_udp
from octavia.common import config
from octavia.db import api as db_api
from octavia.db import base_models, models, repositories
from oslo_config import cfg
from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import delete, insert, select, update

_TABLES = {
    "amphora": models.Amphora,
    "listener": models.Listener,
    "load_balancer": models.LoadBalancer,
    "member": models.Member,
    "pool": models.Pool,
}


class HealthManager:
    """Every public method is an operation; its arguments and its result are JSON."""

    def __init__(self, database: str, key: str, timeout_s: int) -> None:
        self._key = key
        config.init([])
        cfg.CONF.set_override("connection", f"sqlite:///{database}", group="database")
        # SQLite has no pool to wait for.
        cfg.CONF.set_override("pool_timeout", None, group="database")
        cfg.CONF.set_override("heartbeat_timeout", timeout_s, group="health_manager")
        # The tables of words that columns refer to stay empty.
        enginefacade.configure(sqlite_fk=False, expire_on_commit=True)
        db_api._FACADE = True
        base_models.BASE.metadata.create_all(db_api.get_engine())
        self._updater = heartbeat_udp.UpdateHealthDb()

    def add(self, table: str, row: dict[str, Any]) -> None:
        """Insert a row."""
        self._run(insert(_TABLES[table]).values(**row))

    def change(self, table: str, row_id: str, values: dict[str, Any]) -> None:
        """Change columns of a row."""
        self._run(update(_TABLES[table]).where(_TABLES[table].id == row_id).values(**values))

    def remove(self, table: str, row_id: str) -> None:
        """Delete a row."""
        self._run(delete(_TABLES[table]).where(_TABLES[table].id == row_id))

    def heartbeat(self, datagram: str) -> None:
        """Take a datagram, given in base64, in."""
        message = status_message.unwrap_envelope(base64.b64decode(datagram), self._key)
        message["recv_time"] = time.time()
        self._updater.update_health(message, "127.0.0.1")
        heartbeat_udp.update_stats(message)

    def statuses(self, table: str) -> dict[str, str]:
        """Operating status by id."""
        model = _TABLES[table]
        with db_api.session()() as session:
            return dict(session.execute(select(model.id, model.operating_status)).all())

    def statistics(self) -> dict[str, dict[str, int]]:
        """What has been counted, by listener."""
        rows = models.ListenerStatistics
        with db_api.session()() as session:
            return {
                row.listener_id: {
                    "rx": row.bytes_in,
                    "tx": row.bytes_out,
                    "conns": row.active_connections,
                    "totconns": row.total_connections,
                    "ereq": row.request_errors,
                }
                for row in session.scalars(select(rows))
            }

    def stale(self) -> str | None:
        """The amphora that would be replaced now; it is not marked as such."""
        with db_api.session()() as session, session.begin() as transaction:
            found = repositories.AmphoraHealthRepository().get_stale_amphora(session)
            transaction.rollback()
            return str(found.amphora_id) if found is not None else None

    def _run(self, statement: Any) -> None:
        with db_api.session().begin() as session:
            session.execute(statement)


def main() -> None:
    """Answer requests until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    database, key, timeout_s = sys.argv[1:]
    manager = HealthManager(database, key, int(timeout_s))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = getattr(manager, request["operation"])(**request["arguments"])
            answer = {"result": result}
        except Exception as exc:  # noqa: BLE001  # whatever it raises is its answer
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
