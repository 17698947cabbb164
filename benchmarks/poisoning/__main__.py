"""`python -m benchmarks.poisoning [--seeds N ...] [--write]`: one client sends 1,000 times its update."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# One thread everywhere: libraries read this when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.poisoning.page import page, plot
from benchmarks.poisoning.runs import ROWS, cells, run, told
from benchmarks.resumable import run_missing

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> int:
    """Run what is missing, print the page, and with --write put page and figure under docs/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poisoning", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--results", type=Path, default=DOCS / "benchmarks-poisoning.jsonl", help="lines to go on with")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-poisoning.md and its figure")
    options = parser.parse_args()
    lines = run_missing(list(cells(tuple(options.seeds), tuple(options.rows))), options.results, run, told)
    print(page(lines))
    if options.write:
        (DOCS / "benchmarks-poisoning.md").write_text(page(lines), encoding="utf-8")
        plot(lines, DOCS / "images" / "benchmarks-poisoning.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
