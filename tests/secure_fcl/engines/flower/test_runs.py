"""Whole runs under Flower against the same runs in simulation: in this process, on Ray, on SuperNodes."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr", reason="flwr is not installed; pip install '.[flower]'")

from flwr.supercore.task_identity import TaskIdentity

from secure_fcl.config import Config, load_config
from secure_fcl.engines.commands import Ask, Deliver, Visit
from secure_fcl.engines.deployed.folder import DeviceFolder, ServerFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.federation import deployed
from secure_fcl.engines.flower.grid import GridParties
from secure_fcl.engines.flower.local import NODE as STOCK_NODE
from secure_fcl.engines.flower.local import LocalFederation, Nodes
from secure_fcl.engines.flower.names import ServerJob
from secure_fcl.engines.flower.node import node_of
from secure_fcl.engines.parties import Answer, Party, party_of
from secure_fcl.randomness import noise_secret
from secure_fcl.running.flower_app import prepared_of
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Job
from secure_fcl.running.over_flower import deal
from secure_fcl.running.prepare import prepare

ROWS = (
    'rows=["class_sums","calm"]', "calm.noise=shared", "class_sums.noise=shared", "training.features=plain",
    "protection=secagg",
)  # fmt: skip
DIFFER = {"engine", "code_supplied_by", "keys", "ledger_head"}
"""Fields of a row's certificate that may differ; each run's own name is in the hash that ends its ledger."""
PHASES = {"visit": (Visit, 1), "confirm": (Deliver, 1), "unmask": (Deliver, 2)}
"""By phase: the ask that is the first of it, and how many of that kind there are since the first visit."""

# What `secure-fcl client --supernode` does, with the noise key of a test and a device that stops answering.
CLIENT = """
import argparse, sys, time
from contextlib import nullcontext
from pathlib import Path
from secure_fcl.engines.commands import Deliver, Visit
from secure_fcl.engines.deployed.folder import DeviceFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.flower.node import node_of
from secure_fcl.engines.flower.process import Station, serve

parser = argparse.ArgumentParser()
for name in ("folder", "supernode", "secret"):
    parser.add_argument(f"--{name}")
given = parser.parse_args()
place = DeviceFolder.read(Path(given.folder))
host = DeployedHost(place, bytes.fromhex("KEY"))
party, kind, count = "STOP".split()


class Stops:
    visited, seen = False, 0

    def answer(self, asks):
        for ask in asks.values():
            self.visited = self.visited or isinstance(ask, Visit)
            self.seen += self.visited and type(ask).__name__ == kind
            if place.name == party and self.seen == int(count) and type(ask).__name__ == kind:
                (Path(given.folder) / "reached").touch()
                time.sleep(3600)
        yield from host.answer(asks)


stops = Stops()
serve(node_of(place, "own", lambda: nullcontext(stops)), Station(address=given.supernode, secret=Path(given.secret)))
"""


# The thin ClientApp with the noise key of a test. Its function is a local one, which Ray's processes are sent by value.
APP = """
from flwr.clientapp import ClientApp

from secure_fcl.running import flower_app


def made():
    def reply(message, context):
        from contextlib import closing

        from secure_fcl.engines.deployed.folder import DeviceFolder
        from secure_fcl.engines.deployed.host import DeployedHost
        from secure_fcl.engines.flower.client_app import folder_of
        from secure_fcl.engines.flower.node import node_of

        place = DeviceFolder.read(folder_of(context))
        return node_of(place, "shipped", lambda: closing(DeployedHost(place, bytes.fromhex("KEY")))).reply(message)

    app = ClientApp()
    for action in ("greet", "ask"):
        app.query(action)(reply)
    return app


client = made()
server = flower_app.app
"""


# Flower's SuperNode, which sleeps three seconds whenever there is no message; all else is as it stands.
NODE = """
import sys
import time
from types import SimpleNamespace

from flwr.supernode import start_client_internal
from flwr.supernode.cli import flower_supernode

quick = {**vars(time), "sleep": lambda seconds: time.sleep(min(seconds, 0.2))}
start_client_internal.time = SimpleNamespace(**quick)
sys.exit(flower_supernode())
"""


class Stopping:
    """A host that stops answering for good at the first ask of a phase."""

    def __init__(self, host: DeployedHost, kind: type[Any], count: int) -> None:
        self._host, self._kind, self._left = host, kind, count
        self._visited = False

    def answer(self, asks: Mapping[Party, Ask]) -> Iterator[Answer]:
        for ask in asks.values():
            self._visited = self._visited or isinstance(ask, Visit)
            self._left -= self._visited and isinstance(ask, self._kind)
        if self._left > 0:
            yield from self._host.answer(asks)


class Deployment:
    """The folders of a run under Flower, and the key of its repeatable noise."""

    def __init__(self, out: Path, config: Config, nodes: Nodes = "simulation") -> None:
        simulated = prepare(config)
        self.noise_key = simulated.noise_key(noise_secret())
        flower = config.flower.model_copy(update={"nodes": nodes})
        named = config.model_copy(update={"engine": "flower", "flower": flower})
        deal(out / "parties", type(simulated)(named, simulated.scenario, simulated.rows))
        self.out, self.clients = out, simulated.scenario.clients
        self.server = ServerFolder.read(out / "parties" / "server")
        self.devices = {party_of(k): out / "parties" / party_of(k) for k in range(self.clients)}

    def folder(self) -> RunFolder:
        return RunFolder.create(self.out / "runs", prepared_of(self.server).config, "run")

    def here(self, nodes_here: Any, stops: Party = "", phase: str = "visit") -> Path:
        """Run it in this process; the device of `stops` answers nothing from a phase of its first round on."""
        hosts = {party: DeployedHost(DeviceFolder.read(path), self.noise_key) for party, path in self.devices.items()}
        played: dict[Party, Any] = {**hosts}
        if stops:
            played[stops] = Stopping(hosts[stops], *PHASES[phase])
        nodes = {}
        for number, (party, path) in enumerate(self.devices.items(), start=1):
            node = node_of(DeviceFolder.read(path), "own", lambda host=played[party]: nullcontext(host))  # type: ignore[misc]
            nodes[number] = node.reply
        folder = self.folder()
        parties = GridParties(nodes_here(nodes), self.server.roster, self.clients, deadline=20.0)
        try:
            assert len(parties.wait(5.0)) == self.clients
            Job(prepared_of(self.server), folder, deployed(parties, self.clients, self.server.digest)).run()
        finally:
            for host in hosts.values():
                host.close()
        return folder.path

    def under_flower(
        self, nodes: Nodes, stop: str = "- - 0", deadline: float = 120.0, node: Sequence[str] = ()
    ) -> Path:
        """Run it over Flower's processes; `stop`: party, kind of ask and count at which its node is killed.

        `node`: command of its SuperNodes; empty: they look for messages more often than Flower lets them.
        """
        folder, work = self.folder(), self.out / "flower"
        work.mkdir()
        (work / "client.py").write_text(CLIENT.replace("KEY", self.noise_key.hex()).replace("STOP", stop))
        app = APP.replace("KEY", self.noise_key.hex())
        job = ServerJob(
            run=str(folder.path), server=str(self.server.path), code="own" if nodes == "own" else "shipped",
            deadline=deadline, patience=120.0,
        )  # fmt: skip
        (work / "node.py").write_text(NODE)
        client = (sys.executable, "-P", str(work / "client.py"))
        node = node or (sys.executable, "-P", str(work / "node.py"))
        with LocalFederation(work, self.devices, nodes, client, app, node) as federation:
            killer = threading.Thread(target=self._kill, args=(federation, stop.split()[0]), daemon=True)
            if stop[0] != "-":
                killer.start()
            ended = federation.run(job, lambda record: None)
            started = list(federation.processes.values())
        assert (ended.status, ended.ended) == ("finished:completed", "finished"), ended
        assert all(process.poll() is not None for process in started)
        return folder.path

    def _kill(self, federation: LocalFederation, party: Party) -> None:
        while not (self.devices[party] / "reached").exists():
            time.sleep(0.2)
        for name in (f"node-{party}", party):
            federation.processes[name].kill()


@pytest.fixture(autouse=True)
def inside_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower makes messages only where it runs an app."""
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((path / "certificate.json").read_text())["rows"]
    return found


def charges(path: Path, row: str) -> list[Any]:
    return [json.loads(line)["charges"] for line in (path / "ledger" / f"{row}.jsonl").read_text().splitlines()]


def require_same(run: Any, other: Any) -> None:
    """Sums, models, metrics, charges and certificates of two runs are equal, but for what names the engine."""
    assert run.metrics == other.metrics
    assert run.digest() == other.digest()
    ours, theirs = rows_of(run.path), rows_of(other.path)
    assert ours.keys() == theirs.keys()
    for row, mine in ours.items():
        assert charges(run.path, row) == charges(other.path, row)
        assert mine["epsilon"] == theirs[row]["epsilon"]
        assert {key for key in mine.keys() | theirs[row].keys() if mine.get(key) != theirs[row].get(key)} <= DIFFER


def test_a_run_over_the_grid_is_the_simulated_run(
    nodes_here: Any, run_tiny: Callable[..., Any], make_config: Callable[..., Config], open_run: Any, tmp_path: Path
) -> None:
    settings = (*ROWS, "replay_noise=true")
    path = Deployment(tmp_path, make_config(*settings)).here(nodes_here)
    require_same(open_run(path), run_tiny(*settings))


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_goes_on_without_a_device_that_stops(
    nodes_here: Any, make_config: Callable[..., Config], open_run: Any, tmp_path: Path, phase: str
) -> None:
    config = make_config('rows=["class_sums"]', "class_sums.noise=shared", "protection=secagg", "replay_noise=true")
    path = Deployment(tmp_path, config).here(nodes_here, "client2", phase)
    senders = [{m["client"] for m in record["ciphertexts"]} for record in open_run(path).records("cost.jsonl")]
    first = {0, 1, 3, 4} if phase == "visit" else {0, 1, 2, 3, 4}
    assert senders == [first, {0, 1, 3, 4}]


@pytest.mark.slow
def test_a_run_on_flowers_simulation_is_the_simulated_run(
    run_tiny: Callable[..., Any], make_config: Callable[..., Config], open_run: Any, tmp_path: Path
) -> None:
    settings = (*ROWS, "replay_noise=true")
    path = Deployment(tmp_path, make_config(*settings)).under_flower("simulation")
    require_same(open_run(path), run_tiny(*settings))


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["confirm", "unmask"])
def test_a_run_goes_on_without_a_supernode_that_is_killed(
    nodes_here: Any, make_config: Callable[..., Config], open_run: Any, tmp_path: Path, phase: str
) -> None:
    config = make_config('rows=["class_sums"]', "class_sums.noise=shared", "protection=secagg", "replay_noise=true")
    deployment = Deployment(tmp_path / "real", config, "own")
    kind, count = PHASES[phase]
    path = deployment.under_flower("own", f"client2 {kind.__name__} {count}", deadline=60.0)
    alike = Deployment(tmp_path / "here", config, "own")
    require_same(open_run(path), open_run(alike.here(nodes_here, "client2", phase)))


@pytest.mark.slow
def test_five_supernodes_run_calm_to_the_end_with_one_killed(
    nodes_here: Any, open_run: Any, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """At Flower's own pace with `--whole`."""
    node = STOCK_NODE if pytestconfig.getoption("--whole") else ()
    config = load_config(None, [
        'rows=["calm"]', "calm.noise=shared", "protection=secagg", "scenario.clients=5", "scenario.partition=iid",
        "privacy.max_dropouts=1", "privacy.colluders=1", "attacks.enabled=false", "replay_noise=true",
    ])  # fmt: skip
    begun = time.monotonic()
    path = Deployment(tmp_path / "real", config, "own").under_flower("own", "client2 Visit 1", 60.0, node)
    assert time.monotonic() - begun < 600.0
    alike = Deployment(tmp_path / "here", config, "own")
    require_same(open_run(path), open_run(alike.here(nodes_here, "client2", "visit")))
