"""One self-contained HTML page from a run's folder: the answer on one screen, then the rest, folded.

Inline style and figures, no script, readable on paper. Everything on the page is read from the folder's files;
what is missing is said to be missing. Text from the files is escaped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation import audit_tables, figures, plots, sums_tables, tables
from evaluation.facts import facts
from evaluation.grids import Grid, accuracy_grid
from evaluation.leakage import leakage, leakage_cells, leakage_grid
from evaluation.page import inline, page
from evaluation.run_folder import Run, mapping, number, objects, read_run, texts
from evaluation.tasks import task_name, tasks_listed
from evaluation.verdict import banners, verdict


@dataclass(frozen=True)
class _RowSection:
    name: str
    matrix: Grid | None
    cohort_figure: Any
    cohorts: tables.Table
    claims: tuple[tuple[str, tuple[str, ...]], ...]


_CLAIMS = (
    ("unit", "Unit protected"),
    ("relation", "Neighbouring relation"),
    ("mechanism", "Mechanism"),
    ("noise", "Place of the noise"),
    ("accountant", "Accountant"),
    ("hiding", "One client's vector hidden by"),
    ("sampling", "Sampling"),
    ("randomness", "Randomness"),
    ("max_dropouts", "Dropouts tolerated"),
    ("colluders", "Colluders tolerated"),
    ("most_examples_of_one_person", "Most examples of one person"),
    ("people_over_noise", "People over the noise of a sum"),
    ("public", "Public from the start"),
    ("held_back", "Held back for a minimum cohort"),
    ("storage", "Storage of one device"),
    ("non_private", "Not private"),
    ("chosen_on_data", "Chosen on the data"),
    ("evaluation", "Published by evaluation"),
    ("assumptions", "Assumptions"),
    ("not_checked", "Not checked"),
)


def _claims(entry: dict[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    epsilon = number(entry.get("epsilon"))
    private = epsilon is not None and math.isfinite(epsilon)
    bound = f"epsilon {tables.epsilon_above(epsilon)}, delta {tables.small(entry.get('delta'))}"
    head = bound if private else "no guarantee"
    if "epsilon_built_in" in entry and private:
        ours = f"epsilon {tables.epsilon_above(entry['epsilon_built_in'])} ({entry.get('accountant_built_in')})"
        head += f", by {entry.get('accountant')}, which is not part of secure-fcl; its own accountants: {ours}"
    found: list[tuple[str, tuple[str, ...]]] = [("Worst cohort", (head,))]
    for key, title in _CLAIMS:
        value = entry.get(key)
        lines = tuple(texts(value)) if isinstance(value, list) else (_sentence(value),)
        if value is not None:
            found.append((title, lines or ("none",)))
    return tuple(found)


def _sentence(value: object) -> str:
    """A mapping of purposes to bytes as one line, a fraction to three digits, anything else as it prints."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if not isinstance(value, dict):
        return str(value)
    known = [(str(key), number(amount)) for key, amount in value.items()]
    return ", ".join(f"{key} {tables.size(amount)}" for key, amount in known if amount)


def _row_section(run: Run, row: str, index: int) -> _RowSection:
    bars = tables.cohort_bars(run, row)
    return _RowSection(
        name=row,
        matrix=accuracy_grid(run, row),
        cohort_figure=inline(plots.epsilon_per_cohort(bars, row, f"epsilon{index}")) if bars else None,
        cohorts=tables.cohorts(run, row),
        claims=_claims(mapping(run.guarantee(row))) if run.guarantee(row) is not None else (),
    )


def _curve(run: Run) -> str | None:
    curves: dict[str, list[float | None]] = {}
    for row in run.rows:
        tasks = run.tasks(row)
        curves[row] = [number(mapping(tasks.get(t)).get("seen")) for t in range(max(tasks, default=-1) + 1)]
    return plots.accuracy_over_tasks(curves) if any(curves.values()) else None


def _own_code(run: Run) -> list[str]:
    """A sentence for each piece of the user's own code that ran."""
    return [
        f"Code of the user's own: {one.get('reference')} in {one.get('path')}, SHA-256 {one.get('digest')}."
        for one in objects(mapping(run.certificate).get("outside_code"))
    ]


def _environment(run: Run) -> tuple[tuple[str, str], ...] | None:
    if run.environment is None:
        return None
    lines = []
    for key, value in run.environment.items():
        packages = [f"{name} {version}" for name, version in value.items()] if isinstance(value, dict) else None
        lines.append((key.replace("_", " "), ", ".join(packages) if packages else str(value)))
    return tuple(lines)


def _course(run: Run) -> tables.Table:
    """Accuracy over the classes seen so far: the curve as a table, one line per row of the run."""
    count = max((max(run.tasks(row), default=-1) + 1 for row in run.rows), default=0)
    lines = [
        (row, *(tables.percent(mapping(run.tasks(row).get(task)).get("seen")) for task in range(count)))
        for row in run.rows
    ]
    return tables.Table(("row", *(f"after {task_name(task)}" for task in range(count))), tuple(lines), 1)


def _front(run: Run, rows: list[_RowSection]) -> _RowSection | None:
    """The row whose matrices stand on the first screen: the attacked one, else the first that has a matrix."""
    attacked = mapping(run.attacks).get("row")
    shown = [row for row in rows if row.matrix is not None]
    return next((row for row in shown if row.name == attacked), shown[0] if shown else None)


def _sums(run: Run) -> dict[str, Any]:
    """What the section on released sums shows."""
    lines = sums_tables.power_lines(run)
    return {
        "sums_mus": sums_tables.mus(run), "sums_games": sums_tables.games(run), "sums_told": sums_tables.told(run),
        "sums_figure": inline(sums_tables.power_figure(lines)) if lines else None,
        "sums_rows": sums_tables.sums_of(run),
        "sums_missing": [text for one in sums_tables.sums_of(run) for text in texts(one.get("missing"))],
    }  # fmt: skip


def render_report(folder: Path) -> str:
    """The report of the run in `folder`, as the text of one HTML file.

    Works on a run in progress: each section whose file is missing says so in a sentence. The same folder
    gives the same text.

    Raises:
        StorageError: `folder` is not a folder.
    """
    run = read_run(folder)
    curve, attack_bars, cost_bars = _curve(run), audit_tables.attack_bars(run), tables.cost_bars(run)
    rows = [_row_section(run, row, index) for index, row in enumerate(run.rows)]
    front = _front(run, rows)
    return page(
        "report.html",
        run=run,
        title=folder.resolve().name,
        facts=facts(run),
        verdict=verdict(run),
        banners=banners(run),
        subjects=figures.subjects(run),
        columns=figures.COLUMNS,
        rules=figures.RULES,
        front=front,
        leakage_grid=leakage_grid(run) if front is not None and front.name == mapping(run.attacks).get("row") else None,
        results=tables.results(run),
        curve=inline(curve) if curve else None,
        course=_course(run),
        tasks_listed=tasks_listed(run.task_names),
        rows=rows,
        attacks=audit_tables.attacks(run),
        attack_seconds=tables.quantity(mapping(run.attacks).get("seconds"), 1),
        attacked=str(mapping(run.attacks).get("row", "?")),
        attack_figure=inline(plots.attack_aucs(attack_bars)) if attack_bars else None,
        leakage=leakage(run),
        leakage_cells=leakage_cells(run),
        by_task=audit_tables.by_task(run),
        history=audit_tables.history(run),
        over_rounds=audit_tables.over_rounds(run),
        mechanism=audit_tables.mechanism(run),
        reconstructions=audit_tables.reconstructions(run),
        **_sums(run),
        not_tested=texts(mapping(run.attacks).get("not_tested")),
        costs=tables.costs(run),
        cost_figure=inline(plots.cost(cost_bars)) if cost_bars else None,
        notes=[*_own_code(run), *texts(mapping(run.certificate).get("notes"))],
        environment=_environment(run),
    )
