# SPDX-License-Identifier: Apache-2.0
"""The API without a server, killed at a chosen step of its work, again and again.

Reads JSON lines {"kill_at", "since", "requests": [[method, path, body in base64], ...]}; what
goes to API 2.0 or plugs is JSON. For each line a process of its own serves the requests and ends
itself with SIGKILL right before step number `kill_at`; a step is an opened, created, renamed or
removed file, or a program or a signal. Steps count since the agent's `start`, which is a dozen of
them, since the first `request`, or from the one on that notes a change of API 2.0 as `done`. The
answer is {"answers": [[status, body], ...], "killed"}: what was answered before the end.
"""

import argparse
import base64
import gc
import json
import os
import signal
import sys
import traceback
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from flask import Flask

from amphora_agent import settings
from amphora_agent.api import create_app
from amphora_agent.api.v2 import views
from amphora_agent.operations import recovery
from amphora_agent.operations.context import Context
from amphora_agent.wiring import build_context
from tests.support.services import ProcessServices
from tests.support.small_host import small

_STEPS = frozenset(
    {
        *("open", "tempfile.mkstemp", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename"),
        *("os.rmdir", "os.kill", "os.listdir", "os.scandir", "shutil.rmtree"),
        *("subprocess.Popen", "socket.connect"),
    }
)
# Of a change of API 2.0: written at its beginning, and when it is done.
_JOURNAL = "/journal.json"
# Paths whose bodies are JSON.
_JSON = ("/2.0/", "/1.0/plug/")

# Otherwise every child would load them anew, and most steps were reading of modules.
_LOADED = (views,)


def main() -> None:
    """Answer each line of standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-file", type=Path, required=True)
    parser.add_argument("--netns", required=True)
    arguments = parser.parse_args()
    loaded = settings.load(arguments.config_file)
    context = small(
        build_context(
            loaded,
            services=ProcessServices(loaded.layout, arguments.netns, loaded.haproxy_cmd),
            netns=arguments.netns,
            config_file=arguments.config_file,
        )
    )
    # The processes below begin where an agent is ready to serve. What they would all do again, and
    # what Flask puts off to the first request, takes longer than most of what is to be killed.
    app = create_app(context)
    app.test_client().get("/")
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line), app, context)), flush=True)


def _run(order: dict[str, Any], app: Flask, context: Context) -> dict[str, Any]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _serve(order, app, context, writer)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answers = [json.loads(line) for line in stream]
    _pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in {0, -signal.SIGKILL}:
        raise RuntimeError(f"the agent ended with {code}")
    return {"answers": answers, "killed": code != 0}


def _serve(order: dict[str, Any], app: Flask, context: Context, writer: int) -> NoReturn:
    code = 1
    stream = os.fdopen(writer, "w")
    try:
        if order["since"] == "start":
            _kill_at(order["kill_at"])
        recovery.sweep(context)
        if order["since"] != "start":
            _kill_at(order["kill_at"], notes=2 if order["since"] == "done" else 0)
        client = app.test_client()
        for method, path, body in order["requests"]:
            answer = client.open(
                path,
                method=method,
                data=base64.b64decode(body),
                content_type="application/json" if path.startswith(_JSON) else None,
            )
            told = [answer.status_code, answer.get_data().decode(errors="replace")]
            stream.write(json.dumps(told) + "\n")
            stream.flush()
        code = 0
    finally:
        # Nothing of the parent's may be run to its end here.
        if code:
            traceback.print_exc()
        os._exit(code)


def _kill_at(step: int, notes: int = 0) -> None:
    """End this process before a step.

    Args:
        notes: how often a journal is put in place before steps count, the last time included.
    """
    numbers, noted = count(1), count(1)
    counts = notes == 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal counts
        if event == "os.rename" and str(arguments[1]).endswith(_JOURNAL):
            counts = counts or next(noted) == notes
        if counts and event in _STEPS and next(numbers) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
