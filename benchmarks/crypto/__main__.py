"""`python -m benchmarks.crypto [--full] [--results FILE] [--fresh] [--write]`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

# One thread everywhere: libraries read this when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.crypto.cells import cells, model_of
from benchmarks.crypto.figure import write_figure
from benchmarks.crypto.grid import measure
from benchmarks.crypto.peers import REMEDY, flower_here
from benchmarks.crypto.report import write_page
from benchmarks.crypto.results import OtherMachine, Results

DOCS = Path(__file__).resolve().parents[2] / "docs"
KEPT = DOCS / "benchmarks-crypto.jsonl"
ELSEWHERE = DOCS / "benchmarks-crypto-elsewhere.jsonl"


def main() -> int:
    """Measure what is missing, print the tables, and with --write put page and figure under docs/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crypto", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all clients and lengths, about an hour; else 2 minutes")
    parser.add_argument("--results", type=Path, help="JSON lines to go on with (default: docs/ with --full, else new)")
    parser.add_argument("--fresh", action="store_true", help="forget the results in the file")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-crypto.md and its figure")
    options = parser.parse_args()
    path = options.results or (KEPT if options.full else Path(tempfile.mkdtemp()) / "benchmarks-crypto.jsonl")
    if options.fresh:
        path.unlink(missing_ok=True)
    try:
        results = Results.open(path)
    except OtherMachine as error:
        print(error, file=sys.stderr)
        return 2
    if not flower_here():
        print(f"{REMEDY}  (our own figures follow without it)", file=sys.stderr)
    measure(results, options.full, lambda name: print(f"- {name}", file=sys.stderr, flush=True))
    page = write_page(results, Results.read(ELSEWHERE))
    print(page)
    if options.write:
        (DOCS / "benchmarks-crypto.md").write_text(page)
        (DOCS / "images" / "benchmarks-crypto.svg").write_text(write_figure(cells(results, model_of(results))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
