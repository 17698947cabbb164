"""One run of a cell, clients that fall silent on their own."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.dropouts.cells import Cell
from benchmarks.poisoning.attack import HereParties
from benchmarks.resumable import Line
from evaluation.files import read_jsonl
from secure_fcl.config import load_config
from secure_fcl.engines import commands as c
from secure_fcl.engines.federation import simulated
from secure_fcl.engines.host import ClientHost
from secure_fcl.engines.parties import Answer, Party, Simulation
from secure_fcl.errors import ConfigInvalid, SumAborted
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Job
from secure_fcl.running.prepare import Prepared, prepare


class SilentAtTimes:
    """Parties of a simulation that are not reached with some probability, each by itself, when they are to train."""

    def __init__(self, parties: Simulation, share: float, seed: int) -> None:
        self._parties, self._share = parties, share
        self._rng = np.random.default_rng([seed, 20])

    @property
    def processes(self) -> Sequence[int]:
        """See `Lab.processes`."""
        return self._parties.processes

    def present(self) -> tuple[Party, ...]:
        """See `Parties`."""
        return self._parties.present()

    def ask(self, asks: Mapping[Party, c.Ask | c.LabAsk], deadline: float | None = None) -> Iterator[Answer]:
        """See `Parties`."""
        asked = [name for name, ask in asks.items() if isinstance(ask, c.Visit)]
        lost = {name for name in asked if float(self._rng.random()) < self._share}
        return self._parties.ask({name: ask for name, ask in asks.items() if name not in lost}, deadline)

    def close(self) -> None:
        """See `Parties`."""
        self._parties.close()


def run(cell: Cell) -> Line:
    """Return accuracies, rounds, epsilon and seconds of a run."""
    prepared = prepare(load_config(None, cell.settings()))
    with tempfile.TemporaryDirectory() as runs:
        folder = RunFolder.create(Path(runs), prepared.config, "run")
        begun = time.perf_counter()
        aborted = _until_done(cell, prepared, folder)
        wall = time.perf_counter() - begun
        records = read_jsonl(folder.path / "metrics.jsonl").records
        costs = read_jsonl(folder.path / "cost.jsonl").records
        certificate = json.loads((folder.path / "certificate.json").read_text())["rows"][cell.row]
        charged = len((folder.path / "ledger" / f"{cell.row}.jsonl").read_text().splitlines())
    final, rounds = records[-1], [record for record in records if record["kind"] == "round"]
    return asdict(cell) | {
        "micro": final["micro"], "task_mean": final["task_mean"], "planned_rounds": prepared.rounds,
        "released": len(rounds), "aborted": aborted, "retired": sum("retired" in record for record in rounds),
        "charged": charged, "in_sum": sum(cost.get("in_sum", cost["clients"]) for cost in costs) / len(costs),
        "epsilon": certificate["epsilon"], "noise_multiplier": certificate["noise_multiplier"],
        "round_s": float(np.median([cost["wall"] for cost in costs])), "wall_s": wall,
    }  # fmt: skip


def _until_done(cell: Cell, prepared: Prepared, folder: RunFolder) -> int:
    """Run, going on after every sum that was aborted; return how many were."""
    clients, aborted = prepared.scenario.clients, 0
    parties: Simulation = HereParties(ClientHost(), clients)
    if cell.silent:
        parties = SilentAtTimes(parties, cell.away, cell.seed)
    with folder.locked():
        while not folder.progress().finished:
            try:
                Job(prepared, folder, simulated(parties, clients)).run()
            except SumAborted:
                if not cell.silent:
                    raise
                aborted += 1
    return aborted


def refusal() -> str:
    """Return what a run says that would lose more clients in every round than it is planned for."""
    beyond = Cell(data="hapt", row="calm", seed=1, away=0.2, planned=0.1)
    try:
        prepare(load_config(None, beyond.settings()))
    except ConfigInvalid as error:
        return str(error)
    raise RuntimeError("a run with more clients away than it is planned for was not refused")


def told(line: Line) -> str:
    """Return what is printed of a finished cell."""
    return f"{100 * line['micro']:.1f} %, {line['aborted']} aborted, {line['wall_s']:.0f} s"
