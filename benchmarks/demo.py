"""`python -m benchmarks.demo [--seeds N ...] [--write]`: by how much the figures of `secure-fcl demo` vary.

The demo's own configuration, with other seeds, without the attacks, and summed in the clear: encrypted sums are exact,
so accuracy does not depend on them. Seeds that have their lines are not run again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evaluation.files import JsonLines, atomic_write, read_jsonl
from secure_fcl.config import load_config
from secure_fcl.demo import CONFIG
from secure_fcl.runner import start, train

DOCS = Path(__file__).resolve().parents[1] / "docs"
MEASURES = {"micro": "windows", "task_mean": "tasks", "forgetting": "forgetting"}
SETTINGS = ("protection=plain", "attacks.enabled=false", "transcript=latest")

Line = dict[str, Any]

_HEAD = """# How much the demo varies

Written by `python -m benchmarks.demo --write` from the lines in `benchmarks-demo.jsonl`; not edited by hand. Percent:
mean and standard deviation over {seeds} seeds, and in brackets the least and the largest. Every seed draws its own
held-out windows, order of classes, coins and noise. *windows*: test windows right after the last task; *tasks*: the
same averaged over tasks; *forgetting*: what earlier tasks lost. All at epsilon 1, noise shared in the sum, delta 1e-5,
a tenth of the training half held out for the attacks. [benchmarks-strategies.md](benchmarks-strategies.md) has the
other strategies and budgets; nothing is held out there.

| strategy | windows | tasks | forgetting |
|---|---|---|---|
"""


def lines_of(seed: int) -> list[Line]:
    """Run the demo's configuration with a seed; return a line for each strategy."""
    config = load_config(CONFIG, [*SETTINGS, f"seed={seed}"])
    with tempfile.TemporaryDirectory() as place:
        prepared, folder = start(config, Path(place), "demo")
        with folder.locked():
            train(prepared, folder)
        records = read_jsonl(folder.path / "metrics.jsonl").records
    finals = [record for record in records if record["kind"] == "final"]
    return [{"seed": seed, "row": one["row"]} | {name: one[name] for name in MEASURES} for one in finals]


def page(lines: Iterable[Line]) -> str:
    """Return the page of these lines."""
    rows: dict[str, list[Line]] = {}
    for line in lines:
        rows.setdefault(line["row"], []).append(line)
    table = [f"| {row} | {' | '.join(_cell(found, name) for name in MEASURES)} |" for row, found in rows.items()]
    return _HEAD.format(seeds=max(len(found) for found in rows.values())) + "\n".join(table) + "\n"


def _cell(lines: list[Line], name: str) -> str:
    values = [100 * line[name] for line in lines]
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    """Run what is missing, print the page, and with --write put it under docs/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(1, 9)))
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-demo.md")
    options = parser.parse_args()
    results = DOCS / "benchmarks-demo.jsonl"
    done = {line["seed"] for line in read_jsonl(results).records} if results.exists() else set()
    with JsonLines(results) as lines:
        for seed in options.seeds:
            if seed not in done:
                print(f"seed {seed}", file=sys.stderr)
                for line in lines_of(seed):
                    lines.append(line)
    text = page(read_jsonl(results).records)
    print(text)
    if options.write:
        atomic_write(DOCS / "benchmarks-demo.md", text)


if __name__ == "__main__":
    main()
