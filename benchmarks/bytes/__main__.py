"""`python -m benchmarks.bytes [--seeds N ...] [--write]`: accuracy over bytes per client."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# One thread everywhere: libraries read this when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.bytes.cells import cells
from benchmarks.bytes.page import page, plot
from benchmarks.bytes.runs import run, told
from benchmarks.resumable import run_missing

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> int:
    """Run what is missing, print the page, and with --write put page and figure under docs/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bytes", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--results", type=Path, default=DOCS / "benchmarks-bytes.jsonl", help="lines to go on with")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-bytes.md and its figure")
    options = parser.parse_args()
    lines = run_missing(list(cells(tuple(options.seeds))), options.results, run, told)
    print(page(lines))
    if options.write:
        (DOCS / "benchmarks-bytes.md").write_text(page(lines), encoding="utf-8")
        plot(lines, DOCS / "images" / "benchmarks-bytes.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
