"""Single points, measured on this machine, in a section of their own: `python -m benchmarks.crypto.elsewhere NAME...`.

For points that take too long to be measured with all others, or whose machine is another than the page's. They are kept
in `docs/benchmarks-crypto-elsewhere.jsonl`, and only their section of the page is written. With no NAME it is written
from the points that are there.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

# One thread everywhere: libraries read this when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.crypto.grid import takes
from benchmarks.crypto.report import write_elsewhere
from benchmarks.crypto.results import OtherMachine, Point, Results

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, KEPT = DOCS / "benchmarks-crypto.md", DOCS / "benchmarks-crypto-elsewhere.jsonl"


def replaced(page: str, section: str) -> str:
    """The page with this section in the place of the one with its heading, or before the last section."""
    heading = section.partition("\n")[0] + "\n"
    before, found, after = page.partition(heading)
    if not found:
        before, _, after = page.rpartition("\n## ")
        return f"{before}\n{section}\n## {after}"
    _, following, rest = after.partition("\n## ")
    return before + section + (f"\n## {rest}" if following else "")


def with_memory(take: Callable[[], Point]) -> Point:
    """A point, and the most memory that this process has taken so far."""
    point = dict(take())
    point["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return point


def main() -> int:
    """Measure what is named and not there yet, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crypto.elsewhere", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="points by name; a name that is not one lists them")
    options = parser.parse_args()
    known = takes(full=True)
    if not set(options.names) <= set(known):
        print("no such point; there are:", *known, sep="\n  ", file=sys.stderr)
        return 2
    try:
        results = Results.open(KEPT) if options.names else Results.read(KEPT)
    except OtherMachine as error:
        print(error, file=sys.stderr)
        return 2
    for name in options.names:
        print(f"- {name}", file=sys.stderr, flush=True)
        results.once(name, lambda take=known[name]: with_memory(take))  # type: ignore[misc]
    if results.points:
        PAGE.write_text(replaced(PAGE.read_text(), write_elsewhere(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
