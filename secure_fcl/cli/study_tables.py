"""Tables of a study for the terminal, with rich, narrow enough for 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from secure_fcl.cli.tables import print_line, print_table
from secure_fcl.studies import Chosen, Outcome
from secure_fcl.studies.results import points
from secure_fcl.studies.running import in_words


def _share(point: Mapping[str, Any], name: str, scale: float = 100.0) -> str:
    value, high = point[name], point[f"{name}_high"]
    if value is None:
        return "-"
    return f"{scale * value:.1f}" + (f" ± {scale * (high - value):.1f}" if high is not None else "")


def print_outcome(done: Outcome, console: Console | None = None) -> None:
    """Print a line a point with intervals over its seeds, the cells that failed, and what all runs cost together."""
    console = console or Console()
    title = "Mean of the seeds, with 95 % t intervals (percent; forgetting and leakage in points)"
    several = len({row["protection"] for row in done.rows}) > 1
    lines = [_line(point, several) for point in points(done.rows)]
    if lines:
        print_table(
            console, title, ("cell", "seeds", "right", "tasks", "forgetting", "leakage", "epsilon"), lines
        )  # fmt: skip
    if done.failed:
        console.print(f"{len(done.failed)} of the cells failed; the same command tries them again:", highlight=False)
        for key, sentence in done.failed.items():
            print_line(console, f"{key}: {sentence}")
    for sentence in done.total.sentences():
        console.print(sentence, highlight=False)
    paths = f"table: {done.table}\npoints: {done.points}\nplot: {done.plot}\npage: {done.page}"
    print_line(console, paths)


def _line(point: Mapping[str, Any], several: bool) -> tuple[str, ...]:
    """The cells of one point; `several`: whether the study has several protections, which are then named."""
    budget = "no noise" if point["epsilon"] is None else f"epsilon {point['epsilon']:g}"
    words = [point["strategy"], point["noise"], budget, point["protection"] if several else "", point["setting"]]
    spent = point["epsilon_spent"]
    return (
        ", ".join(filter(None, words)), str(point["seeds"]),
        *(_share(point, name) for name in ("micro", "task_mean", "forgetting", "leakage")),
        "none" if spent is None else f"{spent:.3g}",
    )  # fmt: skip


def print_chosen(chosen: Chosen, console: Console | None = None) -> None:
    """Print the best run of a private choice, and what the choice cost."""
    console = console or Console()
    if chosen.run is None:
        console.print("no winner: no run was drawn, or none finished", highlight=False)
    else:
        score = "" if chosen.score is None else f"; score {chosen.score:.4g}"
        print_line(console, f"winner: {chosen.cell}{score}")
        print_line(console, f"run: {chosen.run}")
    text = f"the choice is charged: epsilon {chosen.epsilon:.4g} at delta {chosen.delta:g}; not against the server"
    console.print(text, highlight=False)


def print_status(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Print where a study stands."""
    console = console or Console()
    if "private_selection" in found:
        told = "has finished" if found["finished"] else "has not finished; nothing else is shown"
        console.print(f"the study chooses privately and {told}", highlight=False)
        return
    cells = found["cells"]
    print_table(console, "Cells", ("cell", "state"), [(one["label"], one["state"]) for one in cells], text_columns=2)
    for cell in cells:
        if cell["failed"]:
            print_line(console, f"{cell['label']}: {cell['failed']}")
    seconds = found["seconds_left"]
    left = "not known yet" if seconds is None else f"about {in_words(seconds)} one after another"
    text = f"{found['finished']} of {len(found['cells'])} finished, {found['failed']} failed; time left: {left}"
    console.print(text, highlight=False)
