"""What the cells of a study found: one line a run, one a point of the grid with intervals over its seeds, one plot."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.files import atomic_write, read_json, read_jsonl
from evaluation.intervals import mean_interval
from evaluation.run_folder import mapping, number
from evaluation.studies import COLUMNS, aggregate, plot_study, read_study
from evaluation.study_page import render_study
from secure_fcl.running.folder import RunFolder
from secure_fcl.studies.grid import Cell

TABLE, PLOT, POINTS, PAGE = "study.csv", "study.svg", "points.csv", "study.html"
MEASURED = ("micro", "task_mean", "forgetting", "leakage", "epsilon_spent", "bytes_up_per_client")
"""What is averaged over seeds."""

_EXTRA = (
    "setting", "protection", "epsilon_spent", "leakage", "class_mean", "worst_client", "bytes_up_per_client", "run",
)  # fmt: skip
_POINT = ("strategy", "noise", "epsilon", "protection", "setting")


def result(cell: Cell, run: RunFolder) -> dict[str, Any]:
    """Return the line of a finished run; None where it has no such number.

    `leakage` is the membership advantage of the last model, averaged over tasks and over what was kept and what was
    discarded (`attacks.membership.leakage`): 0 is nothing, and it is missing where nobody attacked the cell's strategy.
    """
    final = next(r for r in read_jsonl(run.path / "metrics.jsonl").records if r["kind"] == "final")
    certified = read_json(run.path / "certificate.json")["rows"][cell.strategy]
    sent = sum(record["bytes_up"] for record in read_jsonl(run.path / "cost.jsonl").records)
    return {
        "strategy": cell.strategy,
        "noise": cell.noise,
        "epsilon": None if math.isinf(cell.epsilon) else cell.epsilon,
        "seed": cell.seed,
        **{name: final[name] for name in ("micro", "task_mean", "forgetting", "class_mean", "worst_client")},
        "protection": cell.protection,
        "setting": cell.setting,
        "epsilon_spent": certified["epsilon"],
        "leakage": leakage_of(run.path, cell.strategy),
        "bytes_up_per_client": sent // cell.config.scenario.clients,
        "run": cell.key,
        **{name: json.dumps(v) if isinstance(v, bool | list | dict) else v for name, v in cell.settings},
    }


def leakage_of(folder: Path, strategy: str) -> float | None:
    """Return the mean advantage over what a run's audit says of the last model; None without any."""
    path = folder / "attacks.json"
    audit = read_json(path) if path.exists() else {}
    found = mapping(mapping(audit).get("leakage")) if mapping(audit).get("row") == strategy else {}
    cells = [cell for kind in ("kept", "discarded") for cell in (found.get(kind) or [[]])[-1]]
    values = [value for cell in cells if (value := number(mapping(cell).get("value"))) is not None]
    return sum(values) / len(values) if values else None


def points(rows: Sequence[Mapping[str, Any]], axes: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return one line a point of the grid: its number of seeds, and of everything measured the mean and a t interval.

    An interval is None where a point has one seed, a mean where no run has the number.
    """
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in _POINT), []).append(row)
    found = []
    for runs in groups.values():
        line = {name: runs[0].get(name) for name in (*_POINT, *axes)} | {"seeds": len(runs)}
        for name in MEASURED:
            score = mean_interval([math.nan if run[name] is None else float(run[name]) for run in runs])
            known = {"": score.value, "_low": score.low, "_high": score.high}
            line |= {name + end: None if math.isnan(value) else value for end, value in known.items()}
        found.append(line)
    return found


def write_tables(rows: Sequence[dict[str, Any]], folder: Path, axes: Sequence[str] = ()) -> tuple[Path, Path]:
    """Write table, points and plot of a study, each as a whole; return the paths of the table and the plot.

    Raises:
        StorageError: the system refused.
    """
    table, plot = folder / TABLE, folder / PLOT
    atomic_write(table, _csv([*COLUMNS, *_EXTRA, *axes], rows))
    ends = [name + end for name in MEASURED for end in ("", "_low", "_high")]
    atomic_write(folder / POINTS, _csv([*_POINT, *axes, "seeds", *ends], points(rows, axes)))
    atomic_write(plot, plot_study(aggregate(read_study(table))))
    return table, plot


def write_study_page(folder: Path) -> Path:
    """Write the page of a study, finished or not, or of a private choice, as a whole, and return its path.

    Raises:
        StorageError: the system refused, or there is no such folder.
    """
    path = folder / PAGE
    atomic_write(path, render_study(folder))
    return path


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if row.get(name) is None else row[name] for name in columns} for row in rows)
    return buffer.getvalue()
