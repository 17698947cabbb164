"""A protocol's rows as runs of the toolkit itself: one client, no noise, one visit a task, nothing clipped."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.strategies.cells import digest_of
from benchmarks.strategies.protocols import Protocol, Row
from evaluation.files import read_jsonl
from secure_fcl.config import Config, validate
from secure_fcl.runner import train
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare

TASKS = 5
#: Examples of one task of MNIST, about; with it the sampling rate gives batches of the protocol's size.
PER_TASK = 12_000
#: Above the largest gradient of an example in a trial (139), so next to nothing is clipped.
CLIPPING_NORM = 200.0


def configuration(protocol: Protocol, rows: Sequence[Row], seed: int, data_dir: str = "") -> Config:
    """Return the run of several rows of one scenario and as many steps; seeds count from 1, as the orders do.

    "joint" takes five visits of as many steps, each over all the data.
    """
    first = rows[0]
    tree: dict[str, Any] = {
        "seed": seed,
        "rows": [row.strategy for row in rows],
        "protection": "plain",
        "transcript": "latest",
        "workers": 1,
        "data": {"name": "mnist", "data_dir": data_dir},
        "scenario": {
            "kind": first.scenario, "domains": "classes", "tasks": TASKS, "partition": "iid", "clients": 1,
            "class_order": list(protocol.orders[seed - 1]), "holdout": 0.0,
        },
        # One device that holds a whole task, and a memory whose coins keep about 100 examples of a class.
        "storage": {"budget_kib": 1 << 20},
        "memory": {"keep": 2 * 100 / PER_TASK, "capacity": 2_000},
        "training": {
            "trainer": "stacked", "model": f"mlp:{','.join(str(w) for w in protocol.hidden)}:relu",
            "rounds": 1, "steps": first.iterations or protocol.iterations,
            "optimizer": protocol.optimiser, "learning_rate": protocol.learning_rate,
            "keep_moments": protocol.optimiser == "adam",
            "q_current": protocol.batch / PER_TASK, "denominator": float(protocol.batch),
            # Each earlier task's 200 weigh as much as the current batch: 1/t and 1 - 1/t, times t.
            "q_memory": protocol.batch / 200, "q_fisher": 1.0,
            "clipping_norm": CLIPPING_NORM, "upload_clip": 4.0, "upload_bits": 48, "fisher_bits": 52,
        },
        "privacy": {"max_dropouts": 0},
        "attacks": {"enabled": False},
        **{row.strategy: _free_of_noise(row) for row in rows},
    }  # fmt: skip
    return validate(tree)


def _free_of_noise(row: Row) -> dict[str, Any]:
    """Return a row's settings by the toolkit's names."""
    own: dict[str, Any] = {"noise": "none", "epsilon": float("inf")}
    match row.strategy:
        case "fedewc":
            return own | {"strength": float(row.settings["lambda"])}
        case "fedsi":
            return own | {"strength": float(row.settings["c"]), "damping": float(row.settings["damping"])}
        case "fedlwf":
            temperature = float(row.settings["temperature"])
            # The source leaves out the factor temperature^2 that the toolkit's distillation has.
            weight = {"temperature": temperature, "weight": temperature**-2}
            return own | weight | {"per_task": row.scenario == "domain"}
        case _:
            return own


def digest(protocol: Protocol, row: Row, seed: int) -> str:
    """Return a short digest of the settings of one row: results of other settings are not its results."""
    return digest_of(configuration(protocol, [row], seed).model_dump(mode="json", exclude={"data"}))


def measured(protocol: Protocol, rows: Sequence[Row], seed: int, data_dir: str = "") -> Iterator[dict[str, Any]]:
    """Run some rows of one scenario; yield per row its mean accuracy over tasks and what it cost."""
    before = _cpu_seconds()
    with tempfile.TemporaryDirectory() as parent:
        prepared = prepare(configuration(protocol, rows, seed, data_dir))
        folder = RunFolder.create(Path(parent), prepared.config, "run")
        with folder.locked():
            train(prepared, folder)
        records = read_jsonl(folder.path / "metrics.jsonl").records
    spent = (_cpu_seconds() - before) / len(rows)
    finals = [record for record in records if record["kind"] == "final"]
    for row, final in zip(rows, finals, strict=True):
        mine = [r for r in records if r["kind"] == "round" and r["row"] == final["row"]]
        yield {
            "protocol": protocol.name, "settings": digest(protocol, row, seed),
            "scenario": row.scenario, "strategy": row.strategy, "seed": seed,
            "accuracy": final["task_mean"], "forgetting": final["forgetting"],
            "clipped_entries": sum(r.get("saturated", 0) for r in mine), "cpu_seconds": round(spent, 1),
        }  # fmt: skip


def _cpu_seconds() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in found)
