"""`python -m benchmarks.dropouts [--write]`: whole runs with 0, 5 and 20 % of the clients away."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# One thread everywhere: libraries read this when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.dropouts.cells import CLOSED, DATA, TRAINED, cells
from benchmarks.dropouts.page import page
from benchmarks.dropouts.runs import refusal, run, told
from benchmarks.resumable import run_missing

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> int:
    """Run what is missing, print the page, and with --write put it under docs/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dropouts", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--rows", nargs="+", choices=[*CLOSED, *TRAINED], default=[*CLOSED, *TRAINED])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--results", type=Path, default=DOCS / "benchmarks-dropouts.jsonl", help="lines to go on with")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-dropouts.md")
    options = parser.parse_args()
    wanted = cells(tuple(options.data), tuple(options.rows), tuple(options.seeds))
    lines = run_missing(list(wanted), options.results, run, told)
    text = page(lines, refusal())
    print(text)
    if options.write:
        (DOCS / "benchmarks-dropouts.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
