"""`python -m benchmarks.strategies [--data hapt mnist] [--rows NAME ...] [--seeds N ...] [--write]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# One thread everywhere: libraries read this when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.strategies.bound import ROW, bound
from benchmarks.strategies.cells import DATA, LEADING, MORE_SEEDS, OTHERS, SEEDS, UNSEEN, cells
from benchmarks.strategies.figure import plot
from benchmarks.strategies.head import HEAD
from benchmarks.strategies.runs import known, print_cell, run_all
from benchmarks.strategies.table import page, write
from evaluation.files import JsonLines
from secure_fcl.errors import SecureFclError

DOCS = Path(__file__).resolve().parents[2] / "docs"


def add_bounds(names: Sequence[str], results: Path, data_dir: str) -> list[str]:
    """Append the bound of central joint training where there is none yet; return what failed, in sentences."""
    failed = []
    missing = [name for name in names if name != UNSEEN and (f"{name}-{ROW}", ROW) not in known(results)]
    with JsonLines(results) as lines:
        for name in missing:
            print(f"{name}: central joint training", file=sys.stderr)
            try:
                lines.append(bound(name, data_dir))
            except SecureFclError as error:
                failed.append(f"{name}-{ROW}: {error}")
                print(failed[-1], file=sys.stderr)
    return failed


def main() -> int:
    """Run what is missing, then print the page, and with --write put it under docs/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--rows", nargs="+", default=[*LEADING, *OTHERS], help="strategies; default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=sorted({*SEEDS, *sum(MORE_SEEDS.values(), ())}))
    parser.add_argument("--data-dir", default=os.environ.get("SECURE_FCL_DATA", ""), help="folder with MNIST's files")
    parser.add_argument(
        "--results", type=Path, default=DOCS / "benchmarks-strategies.jsonl", help="lines to go on with"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs") / "strategies", help="folder of unfinished runs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-strategies.md and its figure")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        print_cell(options.cell, options.data_dir, options.runs)
        return 0
    wanted = list(cells(tuple(options.data), tuple(options.rows), tuple(options.seeds)))
    failed = run_all(wanted, options.results, options.data_dir, options.runs, options.jobs)
    failed += add_bounds(options.data, options.results, options.data_dir)
    lines = list(known(options.results).values())
    print(page(lines, HEAD))
    if options.write:
        write(lines, DOCS / "benchmarks-strategies.md", HEAD)
        plot(lines, DOCS / "images" / "benchmarks-strategies.svg")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
