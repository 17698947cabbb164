"""The tables of a report as text, the same for the page and the terminal.

Upper bounds on epsilon are rounded up and lower bounds down, so that rounding never claims more than was
shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.matrix import AccuracyMatrix
from evaluation.plots import CohortBar, CostBar
from evaluation.run_folder import Run, mapping, number, objects

MISSING = "n/a"


@dataclass(frozen=True)
class Table:
    """Column titles and equally long rows of text; the first `text_columns` hold words, the rest numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int


def percent(share: object, signed: bool = False) -> str:
    """A share as percent with one decimal, "n/a" if it is no number."""
    value = number(share)
    if value is None or math.isnan(value):
        return MISSING
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def epsilon_above(value: object) -> str:
    """An upper bound on epsilon, rounded up to two decimals; "none" if it is no finite number."""
    known = number(value)
    return "none" if known is None or not math.isfinite(known) else f"{math.ceil(known * 100 - 1e-9) / 100:.2f}"


def epsilon_below(value: object) -> str:
    """A lower bound on epsilon, rounded down to two decimals; "n/a" if it is no finite number."""
    known = number(value)
    return MISSING if known is None or not math.isfinite(known) else f"{math.floor(known * 100 + 1e-9) / 100:.2f}"


def quantity(value: object, digits: int = 3) -> str:
    """A number with `digits` decimals, "n/a" if it is none."""
    known = number(value)
    return MISSING if known is None or math.isnan(known) else f"{known:.{digits}f}"


def with_interval(value: object, low: object, high: object, digits: int = 3) -> str:
    """A number with its interval in brackets, where it has one."""
    if number(value) is None or number(low) is None or number(high) is None:
        return quantity(value, digits)
    return f"{quantity(value, digits)} [{quantity(low, digits)}, {quantity(high, digits)}]"


def small(value: object) -> str:
    """A small number such as delta in the shortest form, "n/a" if it is none."""
    known = number(value)
    return MISSING if known is None else f"{known:g}"


def p_text(value: object) -> str:
    """A p-value in two digits, "n/a" if it is none."""
    known = number(value)
    return MISSING if known is None else f"{known:.2g}"


def size(amount: float) -> str:
    """Bytes in kB, MB or GB (powers of ten)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= scale:
            return f"{amount / scale:.1f} {unit}"
    return f"{amount:.0f} B"


def epsilon_of(run: Run, row: str) -> float | None:
    """The epsilon that a row's certificate states for its worst cohort; None if there is no finite one."""
    known = number(mapping(run.guarantee(row)).get("epsilon"))
    return known if known is not None and math.isfinite(known) else None


def guarantee_text(run: Run, row: str) -> str:
    """The epsilon a row may claim, its worst cohort's: a number, "none", or "not stated"."""
    return epsilon_above(epsilon_of(run, row)) if isinstance(run.guarantee(row), dict) else "not stated"


def cost_bars(run: Run) -> tuple[CostBar, ...]:
    """Seconds per phase and bytes per client of each row that has finished a round."""
    bars = []
    for row in run.rows:
        records = [record for record in run.cost if record.get("row") == row]
        seconds: dict[str, float] = {}
        for record in records:
            for phase, spent in mapping(record.get("seconds")).items():
                seconds[phase] = seconds.get(phase, 0.0) + (number(spent) or 0.0)
        per_client = [
            sum((number(r.get(key)) or 0.0) / max(number(r.get("clients")) or 1.0, 1.0) for r in records)
            for key in ("bytes_up", "bytes_down")
        ]
        if records:
            wall = sum(number(r.get("wall")) or 0.0 for r in records) or sum(seconds.values())
            bars.append(CostBar(row=row, seconds=seconds, bytes_up=per_client[0], bytes_down=per_client[1], wall=wall))
    return tuple(bars)


def results(run: Run) -> Table:
    """One line per row: what it is, what it may claim, how good it is, what it forgot, what it cost."""
    costs = {bar.row: bar for bar in cost_bars(run)}
    columns = (
        "row", "noise", "epsilon", "delta", "windows", "tasks", "classes", "worst client", "unseen persons",
        "forgetting", "backward", "incremental", "learning", "up per client", "seconds",
    )  # fmt: skip
    lines = []
    for row in run.rows:
        finals = run.records("final", row)
        found = quality(run, row)
        guarantee = mapping(run.guarantee(row))
        bar = costs.get(row)
        lines.append(
            (
                row if finals else f"{row} (unfinished)",
                str(found.get("noise", guarantee.get("noise", MISSING))),
                guarantee_text(run, row),
                small(guarantee.get("delta")),
                *(percent(found.get(key)) for key in ("micro", "task_mean", "class_mean", "worst_client")),
                percent(found.get("unseen_micro")),
                percent(found.get("forgetting")),
                percent(found.get("backward_transfer"), signed=True),
                *(percent(found.get(key)) for key in ("average_incremental_accuracy", "learning_accuracy")),
                size(bar.bytes_up) if bar else MISSING,
                quantity(bar.wall, 1) if bar else MISSING,
            )
        )
    return Table(columns, tuple(lines), 2)


def quality(run: Run, row: str) -> dict[str, object]:
    """The final record of a row, or what is known of one in progress."""
    finals = run.records("final", row)
    return finals[-1] if finals else _so_far(run, row)


def _so_far(run: Run, row: str) -> dict[str, object]:
    tasks = list(run.tasks(row).values())
    matrix = run.matrix(row) or AccuracyMatrix.empty(1)
    return {
        **{key: tasks[-1].get(key) if tasks else None for key in ("micro", "unseen_micro")},
        "task_mean": matrix.average_accuracy(),
        "forgetting": matrix.forgetting(),
        "backward_transfer": matrix.backward_transfer(),
        "average_incremental_accuracy": matrix.average_incremental_accuracy(),
        "learning_accuracy": matrix.learning_accuracy(),
    }


def cohort_bars(run: Run, row: str) -> tuple[CohortBar, ...]:
    """The cohorts of a row as its certificate lists them."""
    return tuple(
        CohortBar(
            group=str(c.get("group", "?")), arrival=int(number(c.get("arrival")) or 0), fate=str(c.get("fate", "?")),
            epsilon=number(c.get("epsilon")),
        )
        for c in objects(mapping(run.guarantee(row)).get("cohorts"))
    )  # fmt: skip


def cohorts(run: Run, row: str) -> Table:
    """Epsilon of every cohort of a row by both accountants."""
    lines = [
        (
            str(cohort.get("group", "?")),
            "whole stream" if cohort.get("fate") == "whole" else run.task_name(cohort.get("arrival")),
            "–" if cohort.get("fate") == "whole" else str(cohort.get("fate", "?")),
            "; ".join(str(event) for event in cohort.get("events") or ()),
            epsilon_above(cohort.get("epsilon_rdp")),
            epsilon_above(cohort.get("epsilon_pld")),
            epsilon_above(cohort.get("epsilon")),
        )
        for cohort in objects(mapping(run.guarantee(row)).get("cohorts"))
    ]
    return Table(("clients", "arrived", "then", "charged for", "RDP", "PLD", "epsilon"), tuple(lines), 4)


def _saturated(run: Run, row: str) -> str:
    records = [r for r in run.records("round", row) if number(r.get("coordinates"))]
    if not records:
        return MISSING
    clipped = sum(number(r.get("saturated")) or 0.0 for r in records)
    return f"{clipped:.0f} of {sum(number(r.get('coordinates')) or 0.0 for r in records):.2g}"


def costs(run: Run) -> Table:
    """Seconds per phase, bytes per client, rounds, and entries that the encoder clipped, of each row."""
    bars = cost_bars(run)
    phases: Sequence[str] = list(dict.fromkeys(phase for bar in bars for phase in bar.seconds))
    lines = [
        (
            bar.row,
            str(sum(record.get("row") == bar.row for record in run.cost)),
            *(quantity(bar.seconds.get(phase), 1) for phase in phases),
            quantity(bar.wall, 1),
            size(bar.bytes_up),
            size(bar.bytes_down),
            _saturated(run, bar.row),
        )
        for bar in bars
    ]
    columns = (
        "row", "rounds", *(f"{phase} (s)" for phase in phases), "wall (s)", "up per client", "down per client",
        "clipped entries",
    )  # fmt: skip
    return Table(columns, tuple(lines), 1)
