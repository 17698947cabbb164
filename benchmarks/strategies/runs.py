"""Runs cells and keeps one line of results for each strategy: an interrupted table goes on where it stopped."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.strategies.cells import Cell
from evaluation.files import JsonLines, read_jsonl
from secure_fcl.config import load_config
from secure_fcl.runner import resume, start, train

Line = dict[str, Any]


def known(results: Path) -> dict[tuple[str, str], Line]:
    """Return the lines of earlier calls by (cell, strategy)."""
    return {(line["cell"], line["row"]): line for line in read_jsonl(results).records} if results.exists() else {}


def run_cell(cell: Cell, data_dir: str, runs: Path) -> list[Line]:
    """Run or go on with one cell in this process; return a line for each strategy."""
    place, begun = runs / cell.folder, time.monotonic()
    config = load_config(None, [*cell.settings(), f"data.data_dir={data_dir}"])
    if (place / "config.toml").exists() and resume(place)[0].config == config:
        prepared, folder = resume(place)
    else:
        shutil.rmtree(place, ignore_errors=True)
        prepared, folder = start(config, runs, place.name)
    with folder.locked():
        train(prepared, folder)
    lines = [_line(cell, row, place, time.monotonic() - begun) for row in cell.rows]
    shutil.rmtree(place)
    return lines


def _line(cell: Cell, row: str, place: Path, seconds: float) -> Line:
    records = read_jsonl(place / "metrics.jsonl").records
    final = next(r for r in records if r["kind"] == "final" and r["row"] == row)
    certificate = json.loads((place / "certificate.json").read_text())["rows"][row]
    costs = [c for c in read_jsonl(place / "cost.jsonl").records if c["row"] == row]
    return {
        "cell": cell.key, "settings": cell.digest(row), "data": cell.data, "row": row, "noise": cell.noise,
        "seed": cell.seed,
        "target": None if math.isinf(cell.epsilon) else cell.epsilon, "epsilon": certificate["epsilon"],
        "micro": final["micro"], "task_mean": final["task_mean"], "forgetting": final["forgetting"],
        **{key: final[key] for key in ("unseen_micro", "unseen_task_mean") if key in final},
        "bytes_up": sum(c["bytes_up"] for c in costs) / costs[0]["clients"],
        "bytes_down": sum(c["bytes_down"] for c in costs) / costs[0]["clients"],
        "rounds": len(costs), "seconds": round(sum(c["wall"] for c in costs), 1), "cell_seconds": round(seconds, 1),
    }  # fmt: skip


def run_all(wanted: list[Cell], results: Path, data_dir: str, runs: Path, jobs: int) -> list[str]:
    """Run what is missing, `jobs` cells at a time, each in a process of its own; return what failed, in sentences.

    A line made under other settings does not count; the one that is made now takes its place.
    """
    done = {key: line.get("settings") for key, line in known(results).items()}
    todo = [replace(c, rows=tuple(r for r in c.rows if done.get((c.key, r)) != c.digest(r))) for c in wanted]
    todo = [cell for cell in todo if cell.rows]
    print(f"{len(todo)} of {len(wanted)} runs to do", file=sys.stderr)
    results.parent.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    with JsonLines(results) as lines, ThreadPoolExecutor(jobs) as pool:
        for number, (cell, outcome) in enumerate(pool.map(lambda c: (c, _in_process(c, data_dir, runs)), todo), 1):
            if isinstance(outcome, str):
                failed.append(f"{cell.key}: {outcome}")
                print(failed[-1], file=sys.stderr)
                continue
            for line in outcome:
                lines.append(line)
            shown = ", ".join(f"{line['row']} {line['micro']:.3f}" for line in outcome)
            print(f"{number}/{len(todo)} {cell.key} ({outcome[0]['cell_seconds']:.0f} s): {shown}", file=sys.stderr)
    return failed


def _in_process(cell: Cell, data_dir: str, runs: Path) -> list[Line] | str:
    command = [sys.executable, "-m", "benchmarks.strategies", "--cell", json.dumps([*_fields(cell)])]
    command += ["--data-dir", data_dir, "--runs", str(runs)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        return (found.stderr.strip().splitlines() or ["no message"])[-1]
    return [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]


def _fields(cell: Cell) -> tuple[object, ...]:
    return cell.data, cell.epsilon, cell.noise, cell.seed, list(cell.rows)


def print_cell(text: str, data_dir: str, runs: Path) -> None:
    """Run one cell, given as a JSON list of its fields, and print its lines."""
    data, epsilon, noise, seed, rows = json.loads(text)
    for line in run_cell(Cell(data, float(epsilon), noise, seed, tuple(rows)), data_dir, runs):
        print(json.dumps(line), flush=True)
