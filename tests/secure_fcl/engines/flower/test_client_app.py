"""The app that stock SuperNodes are sent: each message is answered from the device's disk alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr", reason="flwr is not installed; pip install '.[flower]'")

from flwr.app import Context, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from evaluation.files import read_json
from secure_fcl.config import Config
from secure_fcl.engines.deployed.folder import ServerFolder
from secure_fcl.engines.federation import deployed
from secure_fcl.engines.flower import client_app
from secure_fcl.engines.flower.grid import GridParties
from secure_fcl.engines.parties import party_of
from secure_fcl.errors import DeviceRefused
from secure_fcl.running.flower_app import prepared_of
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Job
from secure_fcl.running.over_flower import deal
from secure_fcl.running.prepare import prepare

KNOWN: dict[str, Any] = {"run_id": 1, "node_id": 1, "state": RecordDict(), "run_config": {}}


def stock(config: Config) -> Config:
    flower = config.flower.model_copy(update={"nodes": "stock"})
    return config.model_copy(update={"engine": "flower", "flower": flower})


def test_a_run_over_apps_that_keep_nothing_between_messages(
    nodes_here: Any, make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    parties = tmp_path / "parties"
    deal(parties, prepare(stock(make_config('rows=["class_sums"]', "class_sums.noise=shared", "protection=secagg"))))
    server = ServerFolder.read(parties / "server")
    nodes: dict[int, Callable[[Any], Any]] = {}
    for k in range(server.calendar.clients):
        own = Context(node_config={"folder": str(parties / party_of(k))}, **KNOWN)
        nodes[k + 1] = partial(client_app.reply, context=own)
    folder = RunFolder.create(tmp_path / "runs", prepared_of(server).config, "run")
    grid = GridParties(nodes_here(nodes), server.roster, len(nodes), deadline=20.0, code="shipped")
    assert len(grid.wait(5.0)) == len(nodes)
    Job(prepared_of(server), folder, deployed(grid, len(nodes), server.digest)).run()
    row = read_json(folder.path / "certificate.json")["rows"]["class_sums"]
    assert row["code_supplied_by"].startswith("the server: a stock SuperNode runs the app")
    assert row["ledger_entries"] == 2


def test_a_node_without_a_folder_is_refused(tmp_path: Path) -> None:
    simulated = {**KNOWN, "run_config": {"devices": str(tmp_path)}}
    assert client_app.folder_of(Context(node_config={"partition-id": 3}, **simulated)) == tmp_path / "client3"
    with pytest.raises(DeviceRefused, match="--node-config 'folder="):
        client_app.folder_of(Context(node_config={"partition-id": 3}, **KNOWN))
