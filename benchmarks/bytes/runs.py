"""One run of a cell, and the file of results that lets the next start go on."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bytes.cells import Cell
from evaluation.files import read_jsonl
from secure_fcl.config import load_config
from secure_fcl.runner import train
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare

Line = dict[str, Any]


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


def run_missing(cells: list[Cell], results: Path) -> list[Line]:
    """Run what the file of results lacks, a line each; return the lines of all cells."""
    results.touch()
    known = {line["key"]: line for line in read_jsonl(results).records}
    for cell in cells:
        if cell.key in known:
            continue
        line = {"key": cell.key, **run(cell)}
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        known[cell.key] = line
        print(f"{cell.key}: {100 * line['micro']:.1f} %, {line['bytes'] / 1024:.0f} KiB", flush=True)
    return [known[cell.key] for cell in cells]
