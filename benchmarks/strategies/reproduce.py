"""Central split-MNIST through the toolkit: `python -m benchmarks.strategies.reproduce [--seeds 1 2] [--write]`.

Goes on where an earlier call stopped. Needs MNIST where `secure-fcl data list` finds it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.strategies.central import digest, measured
from benchmarks.strategies.protocols import SHORT, THREE_TYPES, Protocol, Row
from evaluation.files import JsonLines, read_jsonl
from secure_fcl.errors import SecureFclError

DOCS = Path(__file__).resolve().parents[2] / "docs"
KEPT = DOCS / "benchmarks-split-mnist.jsonl"
PAGE = DOCS / "benchmarks-split-mnist.md"
ALLOWED = 0.03
RUNNABLE = {protocol.name: protocol for protocol in (SHORT, THREE_TYPES)}
SCENARIOS = ("class", "task", "domain")
FIRST, LAST = "<!-- table -->", "<!-- end of table -->"


@dataclass(frozen=True)
class Judged:
    """One row of the table: what was published, and what the toolkit reached by seed."""

    protocol: Protocol
    row: Row
    found: tuple[float, ...]

    @property
    def within(self) -> bool:
        """Whether the mean over seeds is within three points of the published figure."""
        # Both are read to the third decimal; half of one must not decide.
        return round(abs(mean(self.found) - self.row.published), 4) <= ALLOWED

    def line(self) -> str:
        """Return the row in Markdown."""
        spread = f" +- {stdev(self.found):.3f}" if len(self.found) > 1 else ""
        seeds = " ".join(f"{value:.3f}" for value in self.found)
        return (
            f"| {self.protocol.name} | {self.row.scenario} | {self.row.strategy} | {self.row.published:.2f} "
            f"| {mean(self.found):.3f}{spread} | {'yes' if self.within else 'no'} | {seeds} |"
        )


def missing(
    protocol: Protocol,
    seeds: Sequence[int],
    scenarios: Sequence[str],
    done: Iterable[Mapping[str, Any]],
    strategies: Sequence[str] = (),
) -> Iterator[tuple[list[Row], int]]:
    """Yield what is to be run together, seed by seed: rows of one scenario that take the same number of steps.

    `strategies`: those to run; empty: all.
    """
    have = {(r.get("settings"), r["protocol"], r["scenario"], r["strategy"], r["seed"]) for r in done}
    asked = [r for r in protocol.rows if r.scenario in scenarios and (not strategies or r.strategy in strategies)]
    for seed in seeds:
        rows = [
            r for r in asked if (digest(protocol, r, seed), protocol.name, r.scenario, r.strategy, seed) not in have
        ]
        for _, group in itertools.groupby(rows, key=lambda r: (r.scenario, r.iterations)):
            yield list(group), seed


def judge(done: Iterable[Mapping[str, Any]]) -> list[Judged]:
    """Return the rows that have results, in the order of the protocols; of two results for a seed the later counts."""
    records = sorted(done, key=lambda r: int(r["seed"]))
    found = []
    for protocol in RUNNABLE.values():
        for row in protocol.rows:
            own = (protocol.name, row.scenario, row.strategy)
            mine = {r["seed"]: r["accuracy"] for r in records if (r["protocol"], r["scenario"], r["strategy"]) == own}
            if mine:
                found.append(Judged(protocol, row, tuple(mine.values())))
    return found


def table(judged: Iterable[Judged]) -> str:
    """Return the table in Markdown."""
    head = "| protocol | scenario | row | published | mean over seeds +- deviation | within 3 points | by seed |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(j.line() for j in judged)])


def with_table(page: str, made: str) -> str:
    """Return a page with the text between its two markers replaced; raises ValueError if they are missing."""
    before, first, rest = page.partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not first or not last:
        raise ValueError(f"the page lacks the markers {FIRST} and {LAST}")
    return f"{before}{FIRST}\n{made}\n{LAST}{after}"


def main() -> int:
    """Run what is missing, print the table, and with --write put it on the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies.reproduce", description=__doc__)
    parser.add_argument("--protocol", choices=sorted(RUNNABLE), default=SHORT.name)
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="*",
        choices=range(1, 21),
        default=[1, 2, 3, 4, 5],
        metavar="1..20",
        help="none: only the table",
    )
    parser.add_argument("--scenarios", nargs="*", choices=SCENARIOS, default=list(SCENARIOS), help="those to run")
    parser.add_argument("--rows", nargs="*", default=[], help="strategies to run; default: all")
    parser.add_argument("--data", default="", help="folder of data files, as data.data_dir")
    parser.add_argument("--results", type=Path, default=KEPT, help="JSON lines to go on with")
    parser.add_argument("--write", action="store_true", help="put the table on its page under docs/")
    options = parser.parse_args()
    protocol = RUNNABLE[options.protocol]
    done = list(read_jsonl(options.results).records) if options.results.exists() else []
    with JsonLines(options.results) as lines:
        for rows, seed in missing(protocol, options.seeds, options.scenarios, done, options.rows):
            print(f"- {rows[0].scenario}, seed {seed}: {', '.join(r.strategy for r in rows)}", file=sys.stderr)
            try:
                for record in measured(protocol, rows, seed, options.data):
                    lines.append(record)
            except SecureFclError as error:
                print(error, file=sys.stderr)
                return 2
    made = table(judge(read_jsonl(options.results).records))
    print(made)
    if options.write:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
