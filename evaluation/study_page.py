"""One self-contained HTML page from a study's folder: the frontier first, then every point, sortable, and every run.

Where the choice was private, the page shows what the choice showed and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.frontier import CRITERIA, Point, criteria, non_dominated, plot_frontier
from evaluation.page import inline, page
from evaluation.run_folder import mapping, number, objects
from evaluation.study_folder import StudyFolder, read_study_folder
from evaluation.tables import MISSING, Table, epsilon_above, percent, size, small, with_interval
from evaluation.verdict import Banner

#: Columns of one run that the page shows, in this order, where the table has them.
_RUN = (
    "strategy", "noise", "epsilon", "seed", "micro", "task_mean", "forgetting", "leakage", "epsilon_spent",
    "protection", "setting",
)  # fmt: skip
_WORDS = {"micro": "accuracy", "forgetting": "forgetting", "leakage": "leakage"}


def render_study(folder: Path) -> str:
    """The page of the study in `folder`, as the text of one HTML file; the same folder gives the same text.

    A study in progress shows the points that it has. A small script sorts the table; without it the page is whole.

    Raises:
        StorageError: `folder` is not a folder.
    """
    study = read_study_folder(folder)
    points = study.points if study.selection is None else ()
    best = non_dominated(points)
    names = criteria(points)
    return page(
        "study.html",
        title=folder.resolve().name,
        facts=_facts(study, points),
        banners=_banners(study),
        private=study.selection is not None,
        choice=_choice(study),
        figure=inline(plot_frontier(points)) if points else None,
        frontier=_short([point for point, chosen in zip(points, best, strict=True) if chosen]),
        judged=["epsilon", *(_WORDS[name] for name in names)],
        left_out=[_WORDS[name] for name in CRITERIA if name not in names],
        points=_table(points),
        chosen=[place for place, chosen in enumerate(best) if chosen],
        runs=_runs(study) if study.selection is None else Table((), (), 0),
        failed=[(str(c.get("label", "?")), str(c["failed"])) for c in _cells(study) if c.get("failed")],
    )


def _cells(study: StudyFolder) -> list[dict[str, Any]]:
    return objects(mapping(study.notes).get("cells")) if study.selection is None else []


def _facts(study: StudyFolder, points: Sequence[Point]) -> tuple[tuple[str, str], ...]:
    if study.selection is not None:
        law = study.selection
        runs = f"a hidden number, mean {small(law.get('mean'))} ({law.get('distribution', 'not stated')})"
        return (("Choice", "private, charged"), ("Runs", runs), ("Score", str(law.get("score", "not stated"))))
    cells, total = _cells(study), mapping(mapping(study.notes).get("total"))
    finished = f"{len(study.lines)} of {len(cells)} finished" if cells else f"{len(study.lines)} finished"
    found = [("Runs", finished), ("Points", str(len(points)))]
    if failed := sum(bool(cell.get("failed")) for cell in cells):
        found.append(("Failed", str(failed)))
    protections = dict.fromkeys(line["protection"] for line in study.lines if line.get("protection"))
    found.append(("Protection", ", ".join(protections) or "not stated"))
    return (*found, ("Delta", small(total["delta"]) if number(total.get("delta")) else "not stated"))


def _banners(study: StudyFolder) -> tuple[Banner, ...]:
    found = [Banner(problem, False) for problem in study.problems]
    if study.selection is not None:
        return tuple(found)
    return (Banner(_not_charged(mapping(mapping(study.notes).get("total"))), False), *found)


def _not_charged(total: dict[str, Any]) -> str:
    """Say that looking at all runs costs them all, with their total where it is known."""
    start = "Which point is best is seen by looking at all runs, and that choice was not charged. "
    if not total:
        return start + "What all runs spent together is not stated."
    runs, private = total.get("runs", "?"), total.get("private", "?")
    both = f"All {runs} runs together spend epsilon {epsilon_above(total.get('epsilon'))} at delta "
    both += small(total.get("delta"))
    if number(total.get("epsilon")) is None:
        spent = epsilon_above(total.get("epsilon_private"))
        both = f"All {runs} runs together have no guarantee; the {private} that have one spend epsilon {spent} together"
    later = " Runs were added after others had finished, so this is no bound." if total.get("added_later") else ""
    return f"{start}{both}.{later}"


def _choice(study: StudyFolder) -> tuple[tuple[str, str], ...]:
    """What a private choice showed, as pairs; empty before it is made."""
    if study.winner is None:
        return ()
    found = study.winner
    score = number(found.get("score"))
    return (
        ("Best", str(found.get("cell") or "no run succeeded")),
        ("Score", MISSING if score is None else small(score)),
        ("Epsilon of the choice", epsilon_above(found.get("epsilon"))),
        ("Delta", small(found.get("delta"))),
    )


def _score(point: Point, name: str) -> str:
    if name not in point.scores:
        return "not measured"
    score = point.scores[name]
    known = None if math.isnan(score.low) else 100 * score.low, None if math.isnan(score.high) else 100 * score.high
    return with_interval(100 * score.value, *known, digits=1)


def _table(points: Sequence[Point]) -> Table:
    """One line a point: its epsilon, what it is judged by, and what else was measured."""
    lines = [
        (
            point.name, epsilon_above(point.epsilon), *(_score(point, name) for name in CRITERIA),
            percent(point.more.get("worst_client")),
            size(point.more["bytes_up_per_client"]) if "bytes_up_per_client" in point.more else "not measured",
            str(point.seeds),
        )
        for point in points
    ]  # fmt: skip
    columns = ("point", "epsilon", "accuracy %", "forgetting", "leakage %", "worst client %", "up per client", "seeds")
    return Table(columns, tuple(lines), 1)


def _short(points: Sequence[Point]) -> Table:
    """The points on the frontier by what they are judged by, the smallest epsilon first."""
    shown = [name for name in CRITERIA if any(name in point.scores for point in points)]
    lines = [
        (point.name, epsilon_above(point.epsilon), *(_score(point, name) for name in shown))
        for point in sorted(points, key=lambda point: point.epsilon)
    ]
    return Table(("point", "epsilon", *(f"{_WORDS[name]} %" for name in shown)), tuple(lines), 1)


def _runs(study: StudyFolder) -> Table:
    """Every run as the table has it, shares in percent."""
    columns = [name for name in _RUN if any(name in line for line in study.lines)]
    shares = ("micro", "task_mean", "forgetting", "leakage")
    lines = [tuple(_cell(line.get(name, ""), name in shares) for name in columns) for line in study.lines]
    return Table(tuple(name.replace("_", " ") for name in columns), tuple(lines), 2)


def _cell(text: str, share: bool) -> str:
    if not text:
        return "none"
    try:
        return percent(float(text)) if share else f"{float(text):.4g}"
    except ValueError:
        return text
