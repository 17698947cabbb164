"""One self-contained HTML page that sets runs side by side: their figures, what differs, their matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation import figures, tables
from evaluation.errors import ComparisonError
from evaluation.facts import configuration, facts
from evaluation.grids import Grid, accuracy_grid
from evaluation.leakage import leakage_grid
from evaluation.page import page
from evaluation.run_folder import Run, mapping, read_run
from evaluation.verdict import Banner, banners, verdict

_ABSENT = "not in this run"


@dataclass(frozen=True)
class _Matrices:
    name: str
    accuracy: Grid | None
    leakage: Grid | None


def render_comparison(paths: Sequence[Path]) -> str:
    """The page that compares the runs in `paths`, in their order, as the text of one HTML file.

    Runs on unlike streams stand side by side too, and the page says that their figures do not compare. The same
    folders give the same text.

    Raises:
        ComparisonError: fewer than two folders.
        StorageError: one of them is not a folder.
    """
    if len(paths) < 2:
        raise ComparisonError(f"{len(paths)} runs leave nothing to compare; name at least two folders")
    runs = dict(zip(_names(paths), map(read_run, paths), strict=True))
    differing = _differences(runs)
    return page(
        "comparison.html",
        title=" · ".join(runs) if len(runs) < 4 else f"{len(runs)} runs",
        facts=_facts(runs),
        banners=[*_unlike(runs), *_of_runs(runs)],
        subjects=[
            replace(subject, about=", ".join(filter(None, (name, subject.about))))
            for name, run in runs.items() for subject in figures.subjects(run)
        ],
        columns=figures.COLUMNS,
        rules=figures.RULES,
        differing=differing,
        results=_results(runs),
        matrices=[
            _Matrices(
                f"{row}, {name}", accuracy_grid(run, row),
                leakage_grid(run) if row == mapping(run.attacks).get("row") else None,
            )
            for name, run in runs.items() for row in run.rows
        ],
        words=[(name, verdict(run)) for name, run in runs.items()],
    )  # fmt: skip


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the folders; where two are alike, with a number behind."""
    names: list[str] = []
    for path in paths:
        name, attempt = path.resolve().name, 2
        while name in names:
            name, attempt = f"{path.resolve().name} ({attempt})", attempt + 1
        names.append(name)
    return names


def _facts(runs: dict[str, Run]) -> tuple[tuple[str, str], ...]:
    """What the runs have in common, of what a page on one of them has in its head."""
    every = [dict(facts(run)) for run in runs.values()]
    shared = [(name, value) for name, value in every[0].items() if all(one.get(name) == value for one in every)]
    return (("Runs", str(len(runs))), *shared)


def _unlike(runs: dict[str, Run]) -> list[Banner]:
    entries = [mapping(run.guarantee(row)) for run in runs.values() for row in run.rows]
    digests = {str(entry.get("scenario_digest", "not stated")) for entry in entries}
    found = []
    if len(digests) > 1:
        found.append(Banner("The runs are not on the same stream of data: their figures must not be compared.", True))
    if digests == {"not stated"}:
        found.append(Banner("No certificate says whether the runs are on the same stream of data.", False))
    # A certificate's sentence goes on about readings and persons, with figures of its own run.
    units = {str(entry["unit"]).partition(";")[0] for entry in entries if "unit" in entry}
    if len(units) > 1:
        named = ", ".join(sorted(units))
        found.append(Banner(f"The runs protect different units ({named}): their epsilons must not be compared.", True))
    return found


def _of_runs(runs: dict[str, Run]) -> list[Banner]:
    found = [Banner(f"{name}: {one.text}", one.severe) for name, run in runs.items() for one in banners(run)]
    return sorted(found, key=lambda banner: not banner.severe)


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": str(value)}
    return found


def _differences(runs: dict[str, Run]) -> tables.Table:
    """One line per key of the configuration in which the runs differ."""
    every = [_flat(configuration(run)) for run in runs.values()]
    keys = list(dict.fromkeys(key for one in every for key in one))
    lines = [(key, *(one.get(key, _ABSENT) for one in every)) for key in keys]
    return tables.Table(("key", *runs), tuple(line for line in lines if len(set(line[1:])) > 1), 1 + len(runs))


def _results(runs: dict[str, Run]) -> tables.Table:
    found = {name: tables.results(run) for name, run in runs.items()}
    lines = tuple((line[0], name, *line[1:]) for name, table in found.items() for line in table.rows)
    first = next(iter(found.values()))
    return tables.Table((first.columns[0], "run", *first.columns[1:]), lines, first.text_columns + 1)
