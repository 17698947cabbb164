"""The page: a table for each data set, strategies down, budgets across, mean and spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.strategies.bound import ROW as CENTRAL
from benchmarks.strategies.cells import LEADING, OTHERS, ROWS_UNSEEN, UNSEEN, current
from benchmarks.strategies.runs import Line
from secure_fcl.strategies.catalogue import ENTRIES

TITLES = {
    "hapt": "HAPT: 30 phones, 6 tasks of 2 activities",
    "mnist": "Split-MNIST: 10 clients, 5 tasks of 2 digits",
}
TITLE_UNSEEN = "HAPT: 25 phones, and 5 persons who never train"
NAMES = {
    "central": "central (bound)", "joint": "joint (bound)", "local_only": "local only (bound)",
    "finetune": "fine-tuning", "replay": "ER",
    "derpp": "DER++", "fedagem": "Fed-A-GEM", "class_sums": "class sums", "slda": "streaming LDA",
    "calm": "**CALM (ours)**", "scaffold": "SCAFFOLD", "fedntd": "FedNTD", "cfed": "CFeD",
    "fedweit_safe": "FedWeIT on sums",
    "fedavg": "FedAvg", "fedprox": "FedProx", "fedewc": "FedEWC", "fedcurv": "FedCurv", "fedsi": "SI",
    "fedssi": "FedSSI", "fedlwf": "FedLwF", "flwf2t": "FLwF-2T", "glfc_safe": "GLFC-safe", "analytic": "analytic",
}  # fmt: skip
COLUMNS = ((None, "none"), (8.0, "local"), (8.0, "shared"), (2.0, "local"), (2.0, "shared"), (1.0, "local"),
           (1.0, "shared"))  # fmt: skip
EARLIER = "†"
CHOSEN = "‡"
_TODAY = current()


def page(lines: Sequence[Line], head: str) -> str:
    """Return the Markdown page."""
    parts = [head]
    for data, title in TITLES.items():
        mine = [line for line in lines if line["data"] == data]
        if not mine:
            continue
        parts += [f"## {title}", _accuracies(mine, data), _declared(mine, data)]
        parts += [f"### {title}: forgetting, epsilon and bytes", _details(mine, data)]
    unseen = [line for line in lines if line["data"] == UNSEEN]
    if unseen:
        parts += [f"## {TITLE_UNSEEN}", _unseen(unseen)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _rows(lines: Iterable[Line]) -> list[str]:
    present = {line["row"] for line in lines}
    return [row for row in (CENTRAL, *LEADING, *OTHERS) if row in present]


def _name(row: str, data: str) -> str:
    """Return a row's name, marked where it declares constants that were chosen on this data set."""
    declared = ENTRIES[row].chosen_on if row in ENTRIES else {}
    return f"{NAMES.get(row, row)} {CHOSEN}" if data in declared else NAMES.get(row, row)


def _declared(lines: Sequence[Line], data: str) -> str:
    said = [
        f"{CHOSEN} {NAMES[row]}: {ENTRIES[row].chosen_on[data]}."
        for row in _rows(lines)
        if row in ENTRIES and data in ENTRIES[row].chosen_on
    ]
    return "\n".join(said)


def _accuracies(lines: Sequence[Line], data: str) -> str:
    heads = ["no noise" if e is None else f"{e:g} {noise}" for e, noise in COLUMNS]
    found = [f"| strategy | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in _rows(lines):
        cells = [_cell(chosen(lines, row, *column)) for column in COLUMNS]
        found.append(f"| {_name(row, data)} | {' | '.join(cells)} |")
    return "\n".join(found)


def of_today(line: Line) -> bool:
    """Return whether a line is of the settings and the strategy's version that the table would run today."""
    return line["row"] == CENTRAL or line.get("settings") == _TODAY.get((line["cell"], line["row"]), "")


def chosen(lines: Iterable[Line], row: str, target: float | None, noise: str) -> list[Line]:
    """Return the lines of a cell: those of today, where there is one, and else those of before."""
    found = [x for x in lines if (x["row"], x["target"], x["noise"]) == (row, target, noise)]
    return [line for line in found if of_today(line)] or found


def _cell(lines: Sequence[Line], windows: str = "micro", tasks: str = "task_mean") -> str:
    if not lines:
        return ""
    micro, mean = (_with_spread([100 * line[key] for line in lines]) for key in (windows, tasks))
    return f"{micro} / {mean}{'' if of_today(lines[0]) else f' {EARLIER}'}"


def _with_spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def _details(lines: Sequence[Line], data: str) -> str:
    heads = ("strategy", "forgetting, no noise", "forgetting at 1, shared", "epsilon at 1, shared", "rounds, shared",
             "MB up, no noise", "MB up, shared", "seeds")  # fmt: skip
    found = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in _rows(lines):
        free, shared = chosen(lines, row, None, "none"), chosen(lines, row, 1.0, "shared")
        cells = [
            _mean(free, "forgetting", 100), _mean(shared, "forgetting", 100), _mean(shared, "epsilon", 1, 3),
            _mean(shared, "rounds", 1, 0), _mean(free, "bytes_up", 1e-6, 2), _mean(shared, "bytes_up", 1e-6, 2),
            str(max(len(free), len(shared))),
        ]  # fmt: skip
        found.append(f"| {_name(row, data)} | {' | '.join(cells)} |")
    return "\n".join(found)


def _unseen(lines: Sequence[Line]) -> str:
    """Return windows and task average on the persons who train and on those who never do, side by side."""
    places = ((None, "none", "no noise"), (1.0, "shared", "1 shared"))
    heads = [f"{said}, {who}" for *_, said in places for who in ("those who train", "unseen persons")]
    found = [f"| strategy | {' | '.join(heads)} | seeds |", "|---" * (len(heads) + 2) + "|"]
    for row in ROWS_UNSEEN:
        found_at = [chosen(lines, row, target, noise) for target, noise, _ in places]
        if not any(found_at):
            continue
        cells = [cell for one in found_at for cell in (_cell(one), _cell(one, "unseen_micro", "unseen_task_mean"))]
        found.append(f"| {_name(row, 'hapt')} | {' | '.join(cells)} | {max(map(len, found_at))} |")
    return "\n".join(found)


def _mean(lines: Sequence[Mapping[str, object]], key: str, factor: float, digits: int = 1) -> str:
    values = [float(str(line[key])) for line in lines if line.get(key) is not None]
    return f"{factor * statistics.mean(values):.{digits}f}" if values else ""


def write(lines: Sequence[Line], path: Path, head: str) -> None:
    """Write the page."""
    path.write_text(page(lines, head), encoding="utf-8")
