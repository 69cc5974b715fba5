# SPDX-License-Identifier: Apache-2.0
"""The step verify, and Octavia's API as it finds it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from amphora_controller.errors import ControllerError
from amphora_controller.setup.verify import VerifyStep
from amphora_controller.units import SystemdUnits, UnitState
from tests.support.openstack.operator import STEPS, Operator

_START_S = 2.0


class Told(SystemdUnits):
    """A service manager that says the same of each unit."""

    def __init__(self, *, runs: bool) -> None:
        """Say whether it runs."""
        super().__init__()
        self._since_s = time.time() if runs else None

    def state(self, unit: str) -> UnitState:
        """See Units."""
        assert unit == "octavia-api.service"
        return UnitState(
            is_there=True,
            is_stale=False,
            is_masked=False,
            is_enabled=True,
            since_s=self._since_s,
        )


@dataclass
class Api:
    """Where Octavia's API answers, once it listens.

    Attributes:
        server: bound to a port, to which nobody can connect before serve().
    """

    server: HTTPServer

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @contextmanager
    def serving(self, *, after_s: float = 0.0) -> Iterator[None]:
        """Answer from some seconds on."""
        begun = threading.Event()

        def serve() -> None:
            time.sleep(after_s)
            self.server.server_activate()
            begun.set()
            self.server.serve_forever(poll_interval=0.05)

        thread = threading.Thread(target=serve)
        thread.start()
        if not after_s:
            begun.wait(timeout=10)
        try:
            yield
        finally:
            begun.wait(timeout=10)
            self.server.shutdown()
            thread.join()


@contextmanager
def an_api(operator: Operator, status: int) -> Iterator[Api]:
    """An API that answers all with one status; it is the site's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with operator.cloud.namespace.entered():
        server = HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        server.server_bind()
    try:
        api = Api(server)
        operator.change(endpoints__public=api.url, services={})
        yield api
    finally:
        server.server_close()


def make(operator: Operator) -> None:
    """All but verify, which would ask this host's systemd."""
    made = operator.run("setup", *STEPS[:-1])
    assert made.status == 0, made.output


def look(operator: Operator, *, runs: bool = True) -> None:
    """The step alone, with a service manager that says whether the API runs."""
    with operator.context() as context:
        list(VerifyStep(context, units=Told(runs=runs), start_s=_START_S).changes())


def test_api_that_answers_is_well(operator: Operator) -> None:
    """An API that answers, even a moment after its start, is right."""
    with an_api(operator, 200) as api:
        make(operator)
        with api.serving(after_s=_START_S / 2):
            look(operator)


def test_api_that_does_not_answer_is_named_where_it_runs(operator: Operator) -> None:
    """A service that runs without an answer is named; where none runs, no answer is right."""
    with an_api(operator, 200) as api:
        make(operator)
        with pytest.raises(ControllerError) as caught:
            look(operator)
        assert caught.value.hint == (
            f"octavia-api.service runs, but {api.url} does not answer; look at its log"
        )
        look(operator, runs=False)


def test_api_that_answers_with_an_error_is_named(operator: Operator) -> None:
    """An error that the API answers with is told with its address and status."""
    with an_api(operator, 500) as api:
        make(operator)
        with api.serving(), pytest.raises(ControllerError) as caught:
            look(operator)
        assert caught.value.hint == f"{api.url} answers with status 500; look at Octavia's log"
