"""`python -m benchmarks.closed_forms`: closed forms side by side on generated sets, a line of JSON for each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.closed_forms.compare import ROWS, outcome
from benchmarks.closed_forms.sets import numbers_of
from evaluation.files import atomic_write

KEPT = Path(__file__).with_name("results.jsonl")
FIRST_SEED, SETS = 80_000, 200
_NEAR, _FAR, _SHOWN = 1.0, 3.0, 10


def main() -> None:
    """Run the sets, print what CALM falls short of on the worst of them, and keep all with `--write`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.closed_forms", description=__doc__)
    parser.add_argument("--sets", type=int, default=SETS, help=f"how many (default: {SETS})")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of the sets; the constants saw others")
    parser.add_argument("--write", action="store_true", help=f"keep the lines in {KEPT.name}")
    parser.add_argument("--kept", action="store_true", help="run nothing, summarise what is kept")
    asked = parser.parse_args()
    if asked.kept:
        lines = [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]
    else:
        lines = list(_run(range(asked.first_seed, asked.first_seed + asked.sets)))
    print(summary(lines))
    if asked.write and not asked.kept:
        atomic_write(KEPT, "".join(json.dumps(line) + "\n" for line in lines))


def _run(seeds: Iterable[int]) -> Iterable[dict[str, Any]]:
    for seed in seeds:
        numbers = numbers_of(seed)
        found = outcome(numbers)
        epsilon = numbers.epsilon if numbers.noise else None
        line = asdict(numbers) | {"epsilon": epsilon, "noise": round(numbers.noise, 3), "draws": found.draws}
        line |= {"accuracy": _rounded(found.accuracy), "error": _rounded(found.error), "gap": round(found.gap, 2)}
        print(json.dumps(line), flush=True)
        yield line


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in values.items()}


def summary(lines: list[dict[str, Any]]) -> str:
    """Return in words how near CALM is to the best other row, and the sets on which it is farthest from it."""
    gaps = np.array([line["gap"] for line in lines])
    means = ", ".join(f"{row} {np.mean([line['accuracy'][row] for line in lines]):.1f}" for row in ROWS)
    said = [
        f"{len(lines)} sets: within {_NEAR:g} point of the best other row on {100 * np.mean(gaps <= _NEAR):.1f} %, "
        f"best on {100 * np.mean(gaps < 0):.0f} %, worst {gaps.max():.1f} points below; more than {_FAR:g} below on "
        f"{int((gaps > _FAR).sum())}; mean accuracy: {means}"
    ]
    for line in sorted(lines, key=lambda line: -float(line["gap"]))[:_SHOWN]:
        epsilon = "no noise" if line["epsilon"] is None else f"epsilon {line['epsilon']:g} {line['place']}"
        rows = ", ".join(f"{row} {line['accuracy'][row]:.1f} +- {line['error'][row]:.1f}" for row in ROWS)
        said.append(
            f"{line['gap']:.1f} below: seed {line['seed']}, {line['classes']} classes, {line['dimension']} features, "
            f"{line['examples']} examples, rarest {line['smallest']:g}, {line['clients']} clients, {epsilon}: {rows}"
        )
    return "\n".join(said)


if __name__ == "__main__":
    main()
