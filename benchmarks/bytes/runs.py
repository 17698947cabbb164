"""One run of a cell."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.bytes.cells import Cell
from benchmarks.resumable import Line
from evaluation.files import read_jsonl
from secure_fcl.config import load_config
from secure_fcl.runner import train
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare


def run(cell: Cell) -> Line:
    """Return accuracies of a run and the bytes that its clients sent, all messages of all rounds, set-up aside."""
    with tempfile.TemporaryDirectory() as runs:
        prepared = prepare(load_config(None, cell.settings()))
        folder = RunFolder.create(Path(runs), prepared.config, "run")
        with folder.locked():
            train(prepared, folder)
        final = read_jsonl(folder.path / "metrics.jsonl").records[-1]
        costs = read_jsonl(folder.path / "cost.jsonl").records
        certificate = json.loads((folder.path / "certificate.json").read_text())["rows"][cell.row]
    plan, _ = prepared.rows[0]
    return {
        "row": cell.row, "size": cell.size, "protection": cell.protection, "seed": cell.seed,
        "epsilon": certificate["epsilon"], "noise_multiplier": certificate["noise_multiplier"],
        "rounds": len(costs), "micro": final["micro"], "task_mean": final["task_mean"],
        "bytes": sum(c["bytes_up"] / c["clients"] for c in costs), "predicted": plan.client_bytes,
        "sent": certificate["sent"],
    }  # fmt: skip


def told(line: Line) -> str:
    """Return what is printed of a finished cell."""
    return f"{100 * line['micro']:.1f} %, {line['bytes'] / 1024:.0f} KiB"
