"""`python -m benchmarks.scale [--peer PYTHON] [--write]`: what many clients cost, and Flower's rounds beside ours."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# One thread everywhere: libraries read this when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.scale.cells import run_missing
from benchmarks.scale.page import page, plot

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> int:
    """Run what is missing, print the page, and with --write put page and figure under docs/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--results", type=Path, default=DOCS / "benchmarks-scale.jsonl", help="lines to go on with")
    parser.add_argument("--peer", default="", help="a Python with flwr[simulation], for Flower's side")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-scale.md and its figure")
    options = parser.parse_args()
    lines = list(run_missing(options.results, options.peer).values())
    print(page(lines))
    if options.write:
        (DOCS / "benchmarks-scale.md").write_text(page(lines), encoding="utf-8")
        plot(lines, DOCS / "images" / "benchmarks-scale.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
