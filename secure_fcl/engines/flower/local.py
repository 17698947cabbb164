"""A federation on one machine: starts Flower's processes, watches what Flower says of the run, ends what it started."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from evaluation.files import read_jsonl
from secure_fcl.engines.flower.commands import Flower, end, free_port, wait_listening
from secure_fcl.engines.flower.contract import require_release
from secure_fcl.engines.flower.keys import write_certificates, write_node_key, write_private
from secure_fcl.engines.flower.names import DEVICES, JOB, ServerJob
from secure_fcl.engines.parties import Party
from secure_fcl.errors import CarrierLost, SecureFclError
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.records import Tick, Watcher

Runtime = Literal["simulation", "supernodes"]
WATCH_SECONDS, STATUS_SECONDS = 0.5, 5.0

_PROJECT = """[project]
name = "secure-fcl-app"
version = "1.0.0"
description = "The loop of secure-fcl under Flower"
license = {text = "Apache-2.0"}

[tool.flwr.app]
publisher = "secure-fcl"

[tool.flwr.app.components]
serverapp = "secure_fcl_app:server"
clientapp = "secure_fcl_app:client"

[tool.flwr.app.config]
job = ""
devices = ""
"""
# Flower looks for assignments in the text: names that are imported do not count.
_APP = '''"""What Flower is given: the two apps of the installed secure-fcl."""

from secure_fcl.engines.flower import client_app, server_app

client = client_app.app
server = server_app.app
'''


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended in Flower's own words (`finished:completed`), and in the loop's."""

    status: str
    ended: str
    why: str


class LocalFederation:
    """One SuperLink, and a node for each device: simulated on Ray, or SuperNodes with TLS and node authentication.

    Beside each SuperNode runs the device's own client process (`secure-fcl client --supernode`), which fetches the
    node's messages and runs the installed code. Use it in a `with` statement.

    Args:
        work: empty folder for keys, settings and logs; private, as it holds keys.
        devices: folder of each device by its party.
        runtime: which nodes.
        client: command of a client process, which is given its folder and its node; other in tests.

    Raises:
        CarrierLost: a process ended, or Flower is missing or another release.
    """

    def __init__(
        self, work: Path, devices: Mapping[Party, Path], runtime: Runtime, client: Sequence[str] | None = None
    ) -> None:
        require_release()
        self._work = work
        self._devices = dict(devices)
        self._runtime = runtime
        self._client = client or (sys.executable, "-P", "-m", "secure_fcl.engines.flower.process")
        self._flower = Flower(home=work / "home", logs=work / "logs")
        self._root: Path | None = None
        self._address = ""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> LocalFederation:
        try:
            self._start_link()
            if self._runtime == "supernodes":
                for party in self._devices:
                    self._flower.call("supernode", "register", str(write_node_key(self._key(party))))
                for party in self._devices:
                    self.start_node(party)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _log(self) -> Path:
        return self._flower.logs / "superlink.log"

    def _key(self, party: Party) -> Path:
        return self._work / "nodes" / f"{party}.key"

    def _start_link(self) -> None:
        port = free_port()
        self._address = f"127.0.0.1:{port}"
        more = ["--insecure", "--simulation"]
        if self._runtime == "supernodes":
            self._root, certificate, key = write_certificates(self._work / "tls")
            more = ["--enable-supernode-auth", "--ssl-ca-certfile", str(self._root)]
            more += ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)]
        self._flower.configure(self._address, self._root)
        place = ["--host", "127.0.0.1", "--port", str(port), "--disable-runtime-dependency-installation"]
        self.processes["superlink"] = self._flower.start("superlink", "flower-superlink", *place, *more)
        wait_listening(port, self.processes["superlink"], self._log)

    def start_node(self, party: Party) -> None:
        """Start a device's SuperNode and client process, or start them again."""
        port, secret = free_port(), self._work / "nodes" / f"{party}.secret"
        if not secret.exists():
            write_private(secret, secrets.token_bytes(32))
        auth = ["--root-certificates", str(self._root), "--auth-supernode-private-key", str(self._key(party))]
        own = ["--isolation", "process", "--host", "127.0.0.1", "--port", str(port)]
        own += ["--superexec-auth-secret-file", str(secret)]
        self.processes[f"node-{party}"] = self._flower.start(
            f"node-{party}", "flower-supernode", "--superlink", self._address, *auth, *own
        )
        self.processes[party] = self._flower.start(
            party, *self._client, "--folder", str(self._devices[party]), "--supernode", f"127.0.0.1:{port}",
            "--secret", str(secret),
        )  # fmt: skip

    def run(self, job: ServerJob, watch: Watcher, stopped: Callable[[], bool] = lambda: False) -> None:
        """Run a job to its end.

        Raises:
            Interrupted: `stopped()` became true; the run stands after its last round.
            CarrierLost: Flower lists the run as anything but completed, or the SuperLink ended.
            SecureFclError: the loop's own sentence of why it failed.
        """
        number = self._submit(job)
        ended = self._watched(number, watch, stopped)
        if ended.ended == "interrupted":
            raise Interrupted
        if ended.ended == "failed":
            raise SecureFclError(f"the run failed under Flower: {ended.why}")
        if ended.status != "finished:completed" or ended.ended != "finished":
            raise CarrierLost(f"Flower lists the run as {ended.status}; its log: {self._log}")

    def _submit(self, job: ServerJob) -> str:
        place, app = self._work / "job.json", self._work / "app"
        job.write(place)
        for stale in ("outcome.json", "stop", "ticks.jsonl"):
            (self._work / stale).unlink(missing_ok=True)
        app.mkdir(exist_ok=True)
        (app / "pyproject.toml").write_text(_PROJECT)
        (app / "secure_fcl_app.py").write_text(_APP)
        given = [f"{JOB}={json.dumps(str(place))}"]
        more: list[str] = []
        if self._runtime == "simulation":
            folder = next(iter(self._devices.values())).parent
            given.append(f"{DEVICES}={json.dumps(str(folder))}")
            count = len(self._devices)
            more = ["--federation-config", f"num-supernodes={count} client-resources-num-cpus=1"]
        found = self._flower.call("run", str(app), "here", "--run-config", " ".join(given), *more)
        return str(found["run-id"])

    def _watched(self, number: str, watch: Watcher, stopped: Callable[[], bool]) -> Ended:
        """Wait for a run to end. Flower is asked when the loop says that it has, and now and then besides."""
        shown, asked = 0, time.monotonic()
        outcome = self._work / "outcome.json"
        while True:
            time.sleep(WATCH_SECONDS)
            shown = self._show(shown, watch)
            if stopped():
                (self._work / "stop").touch()
            if (code := self.processes["superlink"].poll()) is not None:
                raise CarrierLost(f"the SuperLink ended with code {code}; its log: {self._log}")
            if outcome.exists() or time.monotonic() - asked > STATUS_SECONDS:
                status, asked = self.status(number), time.monotonic()
                if status.startswith("finished"):
                    self._show(shown, watch)
                    said: dict[str, Any] = json.loads(outcome.read_text()) if outcome.exists() else {}
                    return Ended(status=status, ended=said.get("ended", ""), why=said.get("why", ""))

    def status(self, number: str) -> str:
        """Return what Flower lists a run as: `running`, `finished:completed`, `finished:failed`, ...

        Raises:
            CarrierLost: Flower cannot be asked, or lists no such run.
        """
        runs = self._flower.call("ls", "here", "--run-id", number).get("runs") or [{}]
        status = runs[0].get("status")
        if not isinstance(status, str):
            raise CarrierLost(f"Flower lists no status for run {number}")
        return status

    def _show(self, shown: int, watch: Watcher) -> int:
        path = self._work / "ticks.jsonl"
        records = read_jsonl(path).records if path.exists() else []
        for record in records[shown:]:
            watch(Tick(**record))
        return len(records)

    def close(self) -> None:
        """End all processes, the SuperLink last. May be called again."""
        link = self.processes.pop("superlink", None)
        end(list(self.processes.values()))
        self.processes.clear()
        if link is not None:
            end([link])
