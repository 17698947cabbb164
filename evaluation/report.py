"""One self-contained HTML page from a run's folder: inline style and figures, no script, readable on paper.

Everything on the page is read from the folder's files; what is missing is said to be missing. Text from the
files is escaped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation import audit_tables, plots, tables
from evaluation.canvas import themed
from evaluation.run_folder import Run, mapping, number, objects, read_run, texts
from evaluation.verdict import banners, verdict

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _RowSection:
    name: str
    matrix: Any
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
    epsilon, delta = tables.epsilon_above(entry.get("epsilon")), tables.small(entry.get("delta"))
    head = "no guarantee" if epsilon == "none" else f"epsilon {epsilon}, delta {delta}"
    if "epsilon_built_in" in entry and epsilon != "none":
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
    """A mapping of purposes to bytes as one line; anything else as it prints."""
    if not isinstance(value, dict):
        return str(value)
    known = [(str(key), number(amount)) for key, amount in value.items()]
    return ", ".join(f"{key} {tables.size(amount)}" for key, amount in known if amount)


def _row_section(run: Run, row: str, index: int, inline: Callable[[str], Any]) -> _RowSection:
    matrix = run.matrix(row)
    bars = tables.cohort_bars(run, row)
    return _RowSection(
        name=row,
        matrix=inline(plots.accuracy_matrix(matrix, row, f"matrix{index}")) if matrix else None,
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


def render_report(folder: Path) -> str:
    """The report of the run in `folder`, as the text of one HTML file.

    Works on a run in progress: each section whose file is missing says so in a sentence. The same folder
    gives the same text.

    Raises:
        StorageError: `folder` is not a folder.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    run = read_run(folder)

    def inline(svg: str) -> Markup:
        return Markup(themed(svg))

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    curve, attack_bars, cost_bars = _curve(run), audit_tables.attack_bars(run), tables.cost_bars(run)
    return environment.get_template("report.html").render(
        run=run,
        title=folder.resolve().name,
        verdict=verdict(run),
        banners=banners(run),
        results=tables.results(run),
        curve=inline(curve) if curve else None,
        rows=[_row_section(run, row, index, inline) for index, row in enumerate(run.rows)],
        attacks=audit_tables.attacks(run),
        attack_seconds=tables.quantity(mapping(run.attacks).get("seconds"), 1),
        attacked=str(mapping(run.attacks).get("row", "?")),
        attack_figure=inline(plots.attack_aucs(attack_bars)) if attack_bars else None,
        leakage=audit_tables.leakage(run),
        leakage_cells=audit_tables.leakage_cells(run),
        by_task=audit_tables.by_task(run),
        history=audit_tables.history(run),
        mechanism=audit_tables.mechanism(run),
        reconstructions=audit_tables.reconstructions(run),
        not_tested=texts(mapping(run.attacks).get("not_tested")),
        costs=tables.costs(run),
        cost_figure=inline(plots.cost(cost_bars)) if cost_bars else None,
        notes=[*_own_code(run), *texts(mapping(run.certificate).get("notes"))],
        environment=_environment(run),
    )
