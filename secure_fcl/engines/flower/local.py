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

from evaluation.files import atomic_write, read_jsonl
from secure_fcl.engines.flower.commands import Flower, end, free_port, wait_listening
from secure_fcl.engines.flower.contract import require_release
from secure_fcl.engines.flower.keys import write_certificates, write_node_key
from secure_fcl.engines.flower.names import DEVICES, FOLDER, JOB, OUTCOME, STOP, TICKS, ServerJob
from secure_fcl.engines.parties import Party
from secure_fcl.engines.tls.certificates import CA_FILE, CERTIFICATE_FILE, KEY_FILE
from secure_fcl.errors import CarrierLost

Nodes = Literal["simulation", "own", "stock"]
Show = Callable[[Mapping[str, Any]], None]
WATCH_SECONDS = 0.5
STATUS_SECONDS = 5.0, 30.0
"""Between two questions to Flower how a run is: at first, and at most. Each is a process, and seconds of work."""

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
APP = '''"""What Flower is given: the two apps of the installed secure-fcl."""

from secure_fcl.engines.flower import client_app
from secure_fcl.running import flower_app

client = client_app.app
server = flower_app.app
'''


CLIENT = (sys.executable, "-P", "-m", "secure_fcl", "client")
NODE = ("flower-supernode",)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended in Flower's own words (`finished:completed`), and in the loop's."""

    status: str
    ended: str
    why: str


class LocalFederation:
    """One SuperLink and a node for each device, on this machine. Use it in a `with` statement.

    Args:
        work: folder for keys, settings and logs; private, as it holds keys.
        devices: folder of each device by its party, all in one folder and named like the parties.
        nodes: "simulation": on Ray, one process of Flower for many nodes; "own": SuperNodes with TLS and node
            authentication, and beside each the device's own client process, which fetches the node's messages and runs
            the installed code; "stock": SuperNodes that run what the server ships.
        client: command of a client process, which is given its folder and its node; other in tests.
        app: text of the application for Flower; other in tests.
        node: command of a SuperNode; other in tests, where it looks for messages more often.

    Raises:
        CarrierLost: a process ended, or Flower is missing or another release.
    """

    def __init__(
        self,
        work: Path,
        devices: Mapping[Party, Path],
        nodes: Nodes,
        client: Sequence[str] = CLIENT,
        app: str = APP,
        node: Sequence[str] = NODE,
    ) -> None:
        require_release()
        self._work = work
        self._devices = dict(devices)
        self._nodes = nodes
        self._client, self._app, self._node = client, app, node
        self._flower = Flower(home=work / "home", logs=work / "logs")
        self._root: Path | None = None
        self._address = ""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> LocalFederation:
        try:
            self._start_link()
            if self._nodes != "simulation":
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
        if self._nodes != "simulation":
            tls = self._work / "tls"
            write_certificates(tls)
            self._root = tls / CA_FILE
            more = ["--enable-supernode-auth", "--ssl-ca-certfile", str(self._root)]
            more += ["--ssl-certfile", str(tls / CERTIFICATE_FILE), "--ssl-keyfile", str(tls / KEY_FILE)]
        self._flower.configure(self._address, self._root)
        place = ["--host", "127.0.0.1", "--port", str(port), "--disable-runtime-dependency-installation"]
        self.processes["superlink"] = self._flower.start("superlink", "flower-superlink", *place, *more)
        wait_listening(port, self.processes["superlink"], self._log)

    def start_node(self, party: Party) -> None:
        """Start a device's SuperNode and client process, or start them again."""
        port, secret = free_port(), self._work / "nodes" / f"{party}.secret"
        auth = ["--root-certificates", str(self._root), "--auth-supernode-private-key", str(self._key(party))]
        place = ["--superlink", self._address, "--host", "127.0.0.1", "--port", str(port)]
        if self._nodes == "stock":
            more = ["--node-config", f"{FOLDER}={json.dumps(str(self._devices[party]))}"]
        else:
            more = ["--isolation", "process", "--superexec-auth-secret-file", str(secret)]
            if not secret.exists():
                atomic_write(secret, secrets.token_bytes(32), mode=0o600)
        name = f"node-{party}"
        self.processes[name] = self._flower.start(name, *self._node, *place, *auth, *more)
        if self._nodes == "own":
            own = ["--folder", str(self._devices[party]), "--supernode", f"127.0.0.1:{port}", "--secret", str(secret)]
            self.processes[party] = self._flower.start(party, *self._client, *own)

    def run(self, job: ServerJob, show: Show, stopped: Callable[[], bool] = lambda: False) -> Ended:
        """Run a job to its end, and return how it ended, in Flower's words and in the loop's own.

        Args:
            job: what the ServerApp does.
            show: is given the record of each round's tick.
            stopped: when true, the loop is asked to end after its round.

        Raises:
            CarrierLost: the SuperLink ended, or does not take the job.
        """
        return self._watched(self._submit(job), show, stopped)

    def _submit(self, job: ServerJob) -> str:
        place, app = self._work / "job.json", self._work / "app"
        job.write(place)
        for stale in (OUTCOME, STOP, TICKS):
            (self._work / stale).unlink(missing_ok=True)
        app.mkdir(exist_ok=True)
        (app / "pyproject.toml").write_text(_PROJECT)
        (app / "secure_fcl_app.py").write_text(self._app)
        given = [f"{JOB}={json.dumps(str(place))}"]
        more: list[str] = []
        if self._nodes == "simulation":
            folder = next(iter(self._devices.values())).parent
            given.append(f"{DEVICES}={json.dumps(str(folder))}")
            count = len(self._devices)
            more = ["--federation-config", f"num-supernodes={count} client-resources-num-cpus=1"]
        found = self._flower.call("run", str(app), "here", "--run-config", " ".join(given), *more)
        return str(found["run-id"])

    def _watched(self, number: str, show: Show, stopped: Callable[[], bool]) -> Ended:
        """Wait for a run to end. Flower is asked when the loop says that it has, and now and then besides."""
        shown, asked, patience = 0, time.monotonic(), STATUS_SECONDS[0]
        outcome = self._work / OUTCOME
        while True:
            time.sleep(WATCH_SECONDS)
            shown = self._show(shown, show)
            if stopped():
                (self._work / STOP).touch()
            if (code := self.processes["superlink"].poll()) is not None:
                raise CarrierLost(f"the SuperLink ended with code {code}; its log: {self._log}")
            if outcome.exists() or time.monotonic() - asked > patience:
                status, asked = self.status(number), time.monotonic()
                patience = min(2 * patience, STATUS_SECONDS[1])
                if status.startswith("finished"):
                    self._show(shown, show)
                    said: dict[str, Any] = json.loads(outcome.read_text()) if outcome.exists() else {}
                    return Ended(status=status, ended=said.get("ended", ""), why=said.get("why", ""))

    def status(self, number: str) -> str:
        """Return what Flower lists a run as: `running`, `finished:completed`, `finished:failed`, ...

        Raises:
            CarrierLost: nobody can be asked, or no such run is listed.
        """
        runs = self._flower.call("ls", "here", "--run-id", number).get("runs") or [{}]
        status = runs[0].get("status")
        if not isinstance(status, str):
            raise CarrierLost(f"run {number} is not listed by Flower; its log: {self._log}")
        return status

    def _show(self, shown: int, show: Show) -> int:
        path = self._work / TICKS
        records = read_jsonl(path).records if path.exists() else []
        for record in records[shown:]:
            show(record)
        return len(records)

    def close(self) -> None:
        """End all processes, the SuperLink last. May be called again."""
        link = self.processes.pop("superlink", None)
        end(list(self.processes.values()))
        self.processes.clear()
        if link is not None:
            end([link])
