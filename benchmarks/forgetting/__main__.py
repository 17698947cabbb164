"""`python -m benchmarks.forgetting [--worlds N] [--write]`: does forgetting make old data private?"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

# One thread everywhere: libraries read this when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.forgetting.attack import lines_of
from benchmarks.forgetting.kept import cells, play_missing
from benchmarks.forgetting.memories import memory_lines
from benchmarks.forgetting.page import page, plot
from benchmarks.forgetting.worlds import SETS, bench_of
from evaluation.files import atomic_write, read_jsonl

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS, PAGE = DOCS / "benchmarks-forgetting.jsonl", DOCS / "forgetting-and-leakage.md"


def main() -> int:
    """Play the worlds that are missing, attack them, and with --write put page and figure under docs/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forgetting", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=list(SETS), default=["hapt", "mnist"])
    parser.add_argument("--worlds", type=int, default=10, help="runs of each data set and budget, at least 5")
    parser.add_argument("--references", type=int, default=2, help="worlds that are also trained without old tasks")
    parser.add_argument("--data-dir", default="", help="folder of data files; empty: as in data.data_dir")
    parser.add_argument("--folder", type=Path, default=Path("runs/forgetting"), help="worlds to go on with")
    parser.add_argument("--write", action="store_true", help="write docs/forgetting-and-leakage.md and its figure")
    parser.add_argument("--page-only", action="store_true", help="make the page anew from the kept results")
    options = parser.parse_args()
    if options.page_only:
        lines = list(read_jsonl(RESULTS).records)
    else:
        wanted = list(cells(tuple(options.data), options.worlds, options.references))
        play_missing(wanted, options.folder, options.data_dir)
        benches = [bench_of(name, options.data_dir) for name in options.data]
        lines = [line for bench in benches for line in lines_of(bench, options.folder, options.worlds)]
        lines += memory_lines()
    text = page([line for line in lines if "row" in line], [line for line in lines if "rule" in line])
    print(text)
    if options.write or options.page_only:
        atomic_write(RESULTS, "".join(json.dumps(line) + "\n" for line in lines).encode())
        atomic_write(PAGE, text.encode())
        figure = plot([line for line in lines if "row" in line])
        atomic_write(DOCS / "images" / "forgetting-and-leakage.svg", figure.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
