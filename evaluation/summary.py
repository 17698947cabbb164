"""The same run in the terminal, narrow enough for 80 columns: one table of figures, or everything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation import audit_tables, sums_tables, tables
from evaluation.facts import facts
from evaluation.figures import COLUMNS, Level, subjects
from evaluation.run_folder import Run, read_run, texts
from evaluation.verdict import banners, verdict

if TYPE_CHECKING:
    from rich.console import Console

_STYLES: dict[Level, str] = {"good": "green", "fair": "yellow", "poor": "red", "unknown": "dim"}
_QUALITY = ("row", "noise", "epsilon", "windows", "tasks", "classes", "worst client", "forgetting")
_COURSE = ("row", "backward", "incremental", "learning", "up per client", "seconds")
_BRIEF = {"worst client": "worst", "epsilon shown": "shown", "epsilon spent": "spent"}
_SHORT = 12
_ATTACKS = ("game", "on", "attack", "AUC")
_TASKS = ("game", "task", "AUC", "epsilon shown", "epsilon spent")
_ROUNDS = ("attack", "rounds of", "noise", "AUC after one", "AUC after all")
_HISTORY = ("members of", "AUC at the end", "with all checkpoints", "half-life")
_MUS = ("row", "verdict", "charged", "measured in the run's noise", "the best attack")
_SUMS = ("question", "the adversary knows", "noise", "verdict", "AUC")
_TOLD = ("asked", "noise", "found")
_EVIDENCE = ("game", "on", "attack", "adjusted p", "epsilon shown", "epsilon spent")


def _selected(table: tables.Table, columns: tuple[str, ...]) -> tables.Table:
    places = [table.columns.index(column) for column in columns]
    lines = tuple(tuple(line[place] for place in places) for line in table.rows)
    named = tuple(_BRIEF.get(column, column) for column in columns)
    return tables.Table(named, lines, sum(place < table.text_columns for place in places))


def _print_table(console: Console, table: tables.Table, title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index, column in enumerate(table.columns):
        left = index < table.text_columns
        # Names and numbers stay whole; only longer words fold.
        whole = not left or max((len(line[index]) for line in table.rows), default=0) <= _SHORT
        shown.add_column(column, justify="left" if left else "right", overflow="fold", no_wrap=whole)
    for line in table.rows:
        shown.add_row(*(Text(cell) for cell in line))
    console.print(shown)


def _print_results(console: Console, run: Run) -> None:
    results = tables.results(run)
    if not results.rows:
        return
    _print_table(console, _selected(results, _QUALITY), "Accuracy and forgetting (percent)")
    _print_table(console, _selected(results, _COURSE), "Course and cost")
    console.print("Rows with different epsilon must not be ranked against each other.", style="dim")


def print_summary(folder: Path, console: Console) -> None:
    """Print the run in `folder` to `console`: what ran, severe warnings, and one table of five figures a row.

    Every figure has its verdict below it, by the rules of `evaluation.figures`. `print_details` prints the rest.

    Raises:
        StorageError: `folder` is not a folder.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    run = read_run(folder)
    if not run.rows:
        console.print(verdict(run), markup=False, highlight=False)
        return
    told = " · ".join(f"{name.lower()}: {value}" for name, value in facts(run))
    console.print(told, markup=False, highlight=False)
    warnings = banners(run)
    for banner in (banner for banner in warnings if banner.severe):
        console.print(f"WARNING: {banner.text}", style="bold red", markup=False, highlight=False)
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("Strategy", overflow="fold")
    for name, _ in COLUMNS:
        shown.add_column(name, overflow="fold")
    for subject in subjects(run):
        cells = [Text(subject.name)]
        for figure in subject.figures:
            cell = Text(f"{figure.value}\n" if figure.value else "")
            cells.append(cell.append(figure.verdict, style=_STYLES[figure.level]))
        shown.add_row(*cells)
    console.print(shown)
    if notes := sum(not banner.severe for banner in warnings):
        console.print(f"{notes} note{'s' * (notes > 1)} in the report.", style="dim", highlight=False)


def as_tree(folder: Path) -> dict[str, Any]:
    """Return what `print_summary` prints as a JSON object.

    `facts` by name, `warnings` with `severe`, and for each row of `rows` a figure by name: `value` (empty if there is
    none), `verdict`, `level` (good, fair, poor, unknown), `more`.

    Raises:
        StorageError: `folder` is not a folder.
    """
    run = read_run(folder)
    return {
        "facts": dict(facts(run)),
        "warnings": [asdict(banner) for banner in banners(run)],
        "rows": {
            subject.name: {name: asdict(one) for (name, _), one in zip(COLUMNS, subject.figures, strict=True)}
            for subject in subjects(run)
        },
    }


def print_details(folder: Path, console: Console) -> None:
    """Print the run in `folder` to `console`: verdict, warnings, and all tables that exist.

    Text from the files is printed as it is; square brackets in it are no markup.

    Raises:
        StorageError: `folder` is not a folder.
    """
    run = read_run(folder)
    console.print(verdict(run), markup=False, highlight=False)
    for banner in banners(run):
        style = "bold red" if banner.severe else "yellow"
        lead = "WARNING" if banner.severe else "note"
        console.print(f"{lead}: {banner.text}", style=style, markup=False, highlight=False)
    _print_results(console, run)
    if run.attacks is None:
        console.print("The audit has not been run for this folder.", style="dim")
        return
    attacks, inversion = audit_tables.attacks(run), audit_tables.reconstructions(run)
    if attacks.rows:
        _print_table(console, _selected(attacks, _ATTACKS), "Attacks")
        _print_table(console, _selected(attacks, _EVIDENCE), "What the attacks prove (epsilon)")
    for table, columns, title in (
        (sums_tables.mus(run), _MUS, "Released sums: mu of one example"),
        (sums_tables.games(run), _SUMS, "Attacks on released sums"),
        (sums_tables.told(run), _TOLD, "What else sums tell"),
    ):
        if table.rows:
            _print_table(console, _selected(table, columns), title)
    if inversion.rows:
        _print_table(console, inversion, "Gradient inversion")
    by_task, history = audit_tables.by_task(run), audit_tables.history(run)
    if by_task.rows:
        _print_table(console, _selected(by_task, _TASKS), "Task by task (epsilon)")
    if history.rows:
        _print_table(console, _selected(history, _HISTORY), "Membership with history: AUC")
    over_rounds = audit_tables.over_rounds(run)
    if over_rounds.rows:
        _print_table(console, _selected(over_rounds, _ROUNDS), "Membership over rounds: AUC")
    mechanism = audit_tables.mechanism(run)
    if mechanism.rows:
        _print_table(console, _selected(mechanism, ("tried", "noise", "so")), "Code, servers and side channels")
    for sentence in texts(run.attacks.get("not_tested")):
        console.print(f"not tested: {sentence}", style="dim", markup=False, highlight=False)
