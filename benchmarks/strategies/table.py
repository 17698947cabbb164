"""The page: a table for each data set, strategies down, budgets across, mean and spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.strategies.bound import ROW as CENTRAL
from benchmarks.strategies.cells import LEADING, OTHERS
from benchmarks.strategies.runs import Line

TITLES = {
    "hapt": "HAPT: 30 phones, 6 tasks of 2 activities",
    "mnist": "Split-MNIST: 10 clients, 5 tasks of 2 digits",
}
NAMES = {
    "central": "central (bound)", "joint": "joint (bound)", "local_only": "local only (bound)",
    "finetune": "fine-tuning", "replay": "ER",
    "derpp": "DER++", "fedagem": "Fed-A-GEM", "class_sums": "class sums", "slda": "streaming LDA",
    "calm": "**CALM (ours)**",
    "fedavg": "FedAvg", "fedprox": "FedProx", "fedewc": "FedEWC", "fedcurv": "FedCurv", "fedsi": "SI",
    "fedssi": "FedSSI", "fedlwf": "FedLwF", "flwf2t": "FLwF-2T", "glfc_safe": "GLFC-safe", "analytic": "analytic",
}  # fmt: skip
COLUMNS = ((None, "none"), (8.0, "local"), (8.0, "shared"), (2.0, "local"), (2.0, "shared"), (1.0, "local"),
           (1.0, "shared"))  # fmt: skip


def page(lines: Sequence[Line], head: str) -> str:
    """Return the Markdown page."""
    parts = [head]
    for data, title in TITLES.items():
        mine = [line for line in lines if line["data"] == data]
        if not mine:
            continue
        parts += [f"## {title}", _accuracies(mine), f"### {title}: forgetting, epsilon and bytes", _details(mine)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _rows(lines: Iterable[Line]) -> list[str]:
    present = {line["row"] for line in lines}
    return [row for row in (CENTRAL, *LEADING, *OTHERS) if row in present]


def _accuracies(lines: Sequence[Line]) -> str:
    heads = ["no noise" if e is None else f"{e:g} {noise}" for e, noise in COLUMNS]
    found = [f"| strategy | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in _rows(lines):
        cells = [_cell(_chosen(lines, row, *column)) for column in COLUMNS]
        found.append(f"| {NAMES.get(row, row)} | {' | '.join(cells)} |")
    return "\n".join(found)


def _chosen(lines: Iterable[Line], row: str, target: float | None, noise: str) -> list[Line]:
    return [x for x in lines if (x["row"], x["target"], x["noise"]) == (row, target, noise)]


def _cell(lines: Sequence[Line]) -> str:
    if not lines:
        return ""
    micro, mean = ([100 * line[key] for line in lines] for key in ("micro", "task_mean"))
    return f"{_with_spread(micro)} / {statistics.mean(mean):.1f}"


def _with_spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def _details(lines: Sequence[Line]) -> str:
    heads = ("strategy", "forgetting, no noise", "forgetting at 1, shared", "epsilon at 1, shared", "rounds, shared",
             "MB up, no noise", "MB up, shared", "seeds")  # fmt: skip
    found = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in _rows(lines):
        free, shared = _chosen(lines, row, None, "none"), _chosen(lines, row, 1.0, "shared")
        cells = [
            _mean(free, "forgetting", 100), _mean(shared, "forgetting", 100), _mean(shared, "epsilon", 1, 3),
            _mean(shared, "rounds", 1, 0), _mean(free, "bytes_up", 1e-6, 2), _mean(shared, "bytes_up", 1e-6, 2),
            str(max(len(free), len(shared))),
        ]  # fmt: skip
        found.append(f"| {NAMES.get(row, row)} | {' | '.join(cells)} |")
    return "\n".join(found)


def _mean(lines: Sequence[Mapping[str, object]], key: str, factor: float, digits: int = 1) -> str:
    values = [float(str(line[key])) for line in lines if line.get(key) is not None]
    return f"{factor * statistics.mean(values):.{digits}f}" if values else ""


def write(lines: Sequence[Line], path: Path, head: str) -> None:
    """Write the page."""
    path.write_text(page(lines, head), encoding="utf-8")
