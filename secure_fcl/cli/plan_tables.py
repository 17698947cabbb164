"""A plan as terminal tables, JSON and a figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.files import atomic_write, write_json
from evaluation.tasks import task_name
from secure_fcl.cli.tables import print_table
from secure_fcl.forecast.cost import Alternative, Forecast, RowCost
from secure_fcl.rows.persons import LEAST_PEOPLE_OVER_NOISE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Console

NO_GUARANTEE = "none"


def as_json(forecast: Forecast) -> dict[str, Any]:
    """Return the plan as a JSON object; an epsilon without guarantee is null."""
    return {
        "rows": [_row(cost) for cost in forecast.rows],
        "advice": list(forecast.advice),
        "alternatives": [vars(a) for a in forecast.alternatives],
        "noise_in_sum_over_epsilon": {
            row: [{"epsilon": e, "noise_in_sum": n} for e, n in points] for row, points in forecast.curves.items()
        },
    }


def _row(cost: RowCost) -> dict[str, Any]:
    cohorts = [
        vars(s.cohort)
        | {"epsilon": s.epsilon if math.isfinite(s.epsilon) else None, "accountant": s.accountant,
           "events": list(s.events)}
        for s in cost.cohorts
    ]  # fmt: skip
    return vars(cost) | {"cohorts": cohorts, "storage": dict(cost.storage)}


def write_plan(forecast: Forecast, folder: Path) -> tuple[Path, Path]:
    """Write plan.json and plan.svg into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, figure = folder / "plan.json", folder / "plan.svg"
    write_json(data, as_json(forecast))
    atomic_write(figure, plot_plan(forecast))
    return data, figure


def print_plan(forecast: Forecast, console: Console) -> None:
    """Print three tables: rows, cohorts, and what other choices would cost."""
    print_table(
        console, "Rows: noise that keeps every cohort within its budget",
        ("row", "noise", "budget", "multiplier", "in the sum", "epsilon", "rounds", "storage", "a round", "in all"),
        [
            (c.row, c.noise, _number(c.budget), _number(c.noise_multiplier), _number(c.noise_in_sum),
             _number(c.epsilon), str(c.rounds), _size(sum(c.storage.values())), _size(c.bytes_per_round),
             _size(c.bytes_in_all))
            for c in forecast.rows
        ],
        text_columns=2,
    )  # fmt: skip
    persons = [(cost.row, s) for cost in forecast.rows for s in cost.cohorts if s.cohort.fate == "whole"]
    if persons:
        print_table(
            console, "Epsilon of one client's whole stream over all tasks, by calendar",
            ("row", "clients", "charged for", "epsilon"),
            [(row, s.cohort.group, "; ".join(s.events), _number(s.epsilon)) for row, s in persons],
            text_columns=3,
        )  # fmt: skip
    else:
        print_table(
            console, "Epsilon of the examples that arrive in a task, worst cohort",
            ("row", "fate", *(task_name(t) for t in range(_tasks(forecast)))),
            [
                (cost.row, fate, *_by_task(cost, fate, _tasks(forecast)))
                for cost in forecast.rows for fate in ("discarded", "kept") if cost.by_arrival(fate)
            ],
            text_columns=2,
        )  # fmt: skip
    for cost in (cost for cost in forecast.rows if cost.people_over_noise is not None):
        console.print(
            f"people, {cost.row}: n / (sigma' sqrt(K)) = {cost.people_over_noise:.3g}, people in a sum over its noise "
            f"(below {LEAST_PEOPLE_OVER_NOISE:g} the plan is refused); a person is a client, and one person on two "
            "clients is not covered",
            highlight=False, markup=False,
        )  # fmt: skip
    for cost in (cost for cost in forecast.rows if cost.clipping):
        console.print(f"clipping, {cost.row}: {cost.clipping}", highlight=False, markup=False)
    for cost in (cost for cost in forecast.rows if cost.mechanism):
        console.print(f"mechanism, {cost.row}: {cost.mechanism}", highlight=False, markup=False)
    for line in forecast.advice:
        console.print(f"better, {line}", highlight=False, markup=False)
    for line in (line for cost in forecast.rows for line in cost.norms):
        console.print(f"norms, {line}", highlight=False, markup=False)
    for cost in forecast.rows:
        if cost.choice:
            console.print(f"choice, {cost.row}: {cost.choice}", highlight=False, markup=False)
    if forecast.alternatives:
        print_table(
            console, "One setting changed: epsilon at the planned noise, or the noise that keeps the budget",
            ("row", "setting", "value", "epsilon", "multiplier", "in the sum", "storage"),
            [(a.row, a.key, str(a.value), *_outcome(a)) for a in forecast.alternatives],
            text_columns=2,
        )  # fmt: skip
        for reason in sorted({f"{a.key} = {a.value}: {a.refused}" for a in forecast.alternatives if a.refused}):
            console.print(f"refused, {reason}", style="dim", highlight=False, markup=False)


def _outcome(a: Alternative) -> list[str]:
    if a.refused is not None:
        return ["refused", "-", "-", "-"]
    return [_number(a.epsilon), _number(a.noise_multiplier), _number(a.noise_in_sum), _size(a.storage or 0)]


def _tasks(forecast: Forecast) -> int:
    return 1 + max((s.cohort.arrival for c in forecast.rows for s in c.cohorts), default=-1)


def _by_task(cost: RowCost, fate: str, tasks: int) -> list[str]:
    found = dict(cost.by_arrival(fate))
    return [_number(found[t]) if t in found else "-" for t in range(tasks)]


def _number(value: float | None) -> str:
    return NO_GUARANTEE if value is None or math.isinf(value) else f"{value:.4g}"


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def plot_plan(forecast: Forecast) -> str:
    """Return an SVG: epsilon by arrival task and fate, and the noise of a sum over the budget."""
    from evaluation.canvas import render

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        _draw_cohorts(left, forecast)
        _draw_curves(right, forecast)

    described = "Left: epsilon of each arrival task, kept and discarded. Right: noise of one sum over the budget"
    return render(draw, width=7.6, height=3.2, name="plan", description=described)


def _draw_cohorts(axes: Axes, forecast: Forecast) -> None:
    from evaluation.canvas import style_of

    index = 0
    for cost in forecast.rows:
        for fate in ("kept", "discarded"):
            points = [(t + 1, e) for t, e in cost.by_arrival(fate) if math.isfinite(e)]
            if points:
                axes.plot(*zip(*points, strict=True), label=f"{cost.row}, {fate}", markersize=5, **style_of(index))
                index += 1
        whole = [s.epsilon for s in cost.cohorts if s.cohort.fate == "whole" and math.isfinite(s.epsilon)]
        if whole:
            axes.plot(range(1, len(whole) + 1), whole, label=cost.row, markersize=5, **style_of(index))
            index += 1
    persons = any(s.cohort.fate == "whole" for cost in forecast.rows for s in cost.cohorts)
    what = ("group of clients", "What a whole stream spends") if persons else ("arrival task", "What an example spends")
    axes.set(xlabel=what[0], ylabel="epsilon", title=what[1])
    axes.set_ylim(bottom=0.0)
    if index:
        axes.legend(fontsize=8)


def _draw_curves(axes: Axes, forecast: Forecast) -> None:
    from evaluation.canvas import style_of

    drawn = [(row, points) for row, points in forecast.curves.items() if points]
    for index, (row, points) in enumerate(drawn):
        axes.plot(*zip(*points, strict=True), label=row, markersize=5, **style_of(index))
    axes.set(xlabel="budget, epsilon", ylabel="noise in one sum", title="What a budget needs")
    if drawn:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            # Powers as plain numbers: the house style draws no formulas.
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(lambda value, _: "")
        axes.legend(fontsize=8)
