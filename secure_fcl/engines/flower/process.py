"""A long-lived client process beside a stock SuperNode: it takes messages from the node and runs its own code.

A SuperNode started with `--isolation process` starts nothing: it waits for somebody to fetch messages over its Runtime
API. Flower's own fetcher would unpack and run the application that the server shipped; this one never looks at it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output
from httpx import HTTPError

from secure_fcl.engines.deployed.folder import DeviceFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.flower.contract import require_release
from secure_fcl.engines.flower.node import Node, node_of

IDLE_SECONDS = 0.05, 0.5
"""Between two looks for a message: at first, and at most, twice as long after every look in vain. The node itself looks
every three seconds."""
_NAME = "secure-fcl"
_FETCHING = frozenset({"/flwr.proto.Runtime/AcquireTask"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Station:
    """A SuperNode's Runtime API.

    Attributes:
        address: `host:port`.
        root: PEM file of what vouches for it; None: no TLS, which Flower itself uses between processes of one machine.
        secret: file that the SuperNode has too (`--superexec-auth-secret-file`); without one, every process of the
            machine can fetch this client's messages.
    """

    address: str
    root: Path | None = None
    secret: Path | None = None

    def client(self, token: str = "") -> RuntimeHttpClient:
        """Return a client of that API: without a token it fetches messages, with one it handles its message."""
        interceptors: list[ProtobufClientInterceptor] = [RuntimeVersionHttpInterceptor(component_name=_NAME)]
        if token:
            interceptors.append(RuntimeTokenHttpInterceptor(token))
        elif self.secret is not None:
            secret = self.secret.read_bytes()
            interceptors.append(SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_FETCHING))
        return RuntimeHttpClient.from_server_address(
            self.address, self.root is None, None if self.root is None else self.root.read_bytes(), interceptors
        )


def serve(node: Node, station: Station, stopped: Callable[[], bool] = lambda: False) -> None:
    """Answer what a SuperNode passes on until `stopped()`; a message that cannot be handled stops nothing.

    A SuperNode that is away is waited for: it may be started after its client, and again.

    Raises:
        CarrierLost: the installed Flower is a release that this was not tested with.
    """
    require_release()
    away, idle = False, IDLE_SECONDS[0]
    with closing(station.client()) as fetcher:
        while not stopped():
            try:
                served = _next(node, station, fetcher)
                away = False
            except HTTPError as error:
                if not away:
                    _log.warning("the SuperNode at %s does not answer: %s", station.address, type(error).__name__)
                served, away = False, True
            if not served:
                time.sleep(idle)
            idle = IDLE_SECONDS[0] if served else min(2 * idle, IDLE_SECONDS[1])


def _next(node: Node, station: Station, fetcher: RuntimeHttpClient) -> bool:
    """Handle one message if there is one; return whether there was."""
    found = fetcher.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
    if not (found.HasField("task") and found.token):
        return False
    with closing(station.client(found.token)) as client:
        alive = HeartbeatSender(make_task_heartbeat_fn_http(client))
        alive.start()
        try:
            # The application that the server shipped comes along; nothing unpacks it.
            message, context, _, _ = pull_task_input(client)
            push_message(client, node.reply(message), context)
            push_task_output(client, context, SubStatus.COMPLETED, "")
        finally:
            alive.stop()
    return True


def serve_folder(folder: Path, station: Station, stopped: Callable[[], bool] = lambda: False) -> None:
    """Serve one device's folder to its SuperNode; raises what `serve` does.

    Raises:
        DeviceRefused, ConfigInvalid: the folder cannot be used, or another process has it.
    """
    # One line for every look for a message, otherwise.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    place = DeviceFolder.read(folder)
    with closing(DeployedHost(place)) as host:
        serve(node_of(place, "own", lambda: nullcontext(host)), station, stopped)
