"""A study: a grid of runs, resumable, with one table and one plot."""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.files import atomic_write, read_json, read_jsonl
from evaluation.studies import COLUMNS, aggregate, plot_study, read_study
from secure_fcl.config import Config, load_tree, validate
from secure_fcl.config.names import has_place, row_name
from secure_fcl.engines.simulation import file_stem
from secure_fcl.errors import ConfigInvalid
from secure_fcl.runner import execute
from secure_fcl.running.fitting import REPORT, require_fitting
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.prepare import prepare

AXES = ("strategy", "noise", "epsilon", "protection", "seed")
_EXTRA = ("protection", "epsilon_spent", "class_mean", "worst_client", "bytes_up_per_client", "run")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a study: its place in the grid and its configuration."""

    strategy: str
    noise: str
    epsilon: float
    protection: str
    seed: int
    config: Config

    @property
    def key(self) -> str:
        """Name of the run's folder: readable, and unique to the whole configuration."""
        digest = hashlib.sha256(json.dumps(self.config.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
        epsilon = "inf" if math.isinf(self.epsilon) else f"{self.epsilon:g}"
        return file_stem(f"{self.strategy}-{self.noise}-eps{epsilon}-{self.protection}-seed{self.seed}-{digest[:8]}")


def load_study(path: Path) -> tuple[Cell, ...]:
    """Return the cells of a study file, each configuration checked.

    The file has [base], a configuration, and [grid], lists for any of strategy, noise, epsilon, protection and
    seed. epsilon = inf stands for no noise and is run once, whatever the places of noise; a place that a strategy
    does not have is left out.

    Raises:
        ConfigInvalid: unknown axes, empty lists, or a cell that no configuration allows.
    """
    tree = load_tree(path)
    if unknown := set(tree) - {"base", "grid"}:
        raise ConfigInvalid(f"study {path}: unknown sections {sorted(unknown)}; a study has [base] and [grid]")
    for section in ("base", "grid"):
        if not isinstance(tree.get(section, {}), dict):
            raise ConfigInvalid(f"study {path}: {section} = {tree[section]!r} must be a section")
    grid = tree.get("grid", {})
    if unknown := set(grid) - set(AXES):
        raise ConfigInvalid(f"study {path}: unknown axes {sorted(unknown)}; the axes are {list(AXES)}")
    lists = {
        "strategy": ["class_sums"],
        "noise": ["local"],
        "epsilon": [2.0],
        "protection": ["plain"],
        "seed": [1],
    } | grid
    for axis, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ConfigInvalid(f"study {path}: grid.{axis} = {values!r} must be a list with at least one value")
    cells: dict[str, Cell] = {}
    for values in itertools.product(*(lists[axis] for axis in AXES)):
        cell = _cell(tree.get("base", {}), *values)
        if cell is not None:
            cells.setdefault(cell.key, cell)
    if not cells:
        raise ConfigInvalid(f"study {path}: no cell of the grid exists; local_only has no sum to share noise in")
    return tuple(cells.values())


def _cell(base: dict[str, Any], strategy: str, noise: str, epsilon: float, protection: str, seed: int) -> Cell | None:
    try:
        row_name(strategy)
    except ValueError as error:
        raise ConfigInvalid(f"grid.strategy has {strategy!r}; {error}") from None
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float):
        raise ConfigInvalid(f"grid.epsilon has {epsilon!r}; give numbers, inf for no noise")
    for section in ("attacks", strategy):
        if not isinstance(base.get(section, {}), dict):
            raise ConfigInvalid(f"base.{section} = {base[section]!r} must be a section")
    place = "none" if math.isinf(epsilon) else noise
    if place == "none" and not math.isinf(epsilon):
        return None
    if place == "shared" and not has_place(strategy, "shared"):
        return None
    tree = copy.deepcopy(base)
    attacked = tree.setdefault("attacks", {}).setdefault("enabled", False)
    tree.setdefault("transcript", "full" if attacked else "latest")
    tree |= {"rows": [strategy], "protection": protection, "seed": seed}
    tree[strategy] = tree.get(strategy, {}) | {"epsilon": epsilon, "noise": place}
    return Cell(
        strategy=strategy, noise=place, epsilon=float(epsilon), protection=protection, seed=seed, config=validate(tree)
    )


def run_study(
    cells: tuple[Cell, ...], folder: Path, say: Callable[[str], None], stopped: Callable[[], bool] = lambda: False
) -> tuple[Path, Path]:
    """Run what is not finished yet, rewriting table and plot after every run; return their paths.

    Raises:
        Interrupted: `stopped()` became true; the same call continues.
    """
    folder.mkdir(parents=True, exist_ok=True)
    protections = {cell.protection for cell in cells}
    done: list[dict[str, Any]] = []
    paths = folder / "study.csv", folder / "study.svg"
    for number, cell in enumerate(cells, 1):
        if stopped():
            raise Interrupted
        path = folder / "runs" / cell.key
        fresh = not (path / "state.json").exists()
        # What runs is the cell of the study file, so code is named by that, and not by the folder.
        run = (
            RunFolder.create(folder / "runs", cell.config, cell.key)
            if fresh
            else RunFolder.existing(path, trust_code=True)
        )
        say(f"{number}/{len(cells)} {cell.key}")
        if not run.progress().finished:
            execute(prepare(cell.config), run, stopped=stopped)
        else:
            require_fitting(run, but=(REPORT,))
        done.append(_result(cell, run, several=len(protections) > 1))
        _write(done, *paths)
    return paths


def _result(cell: Cell, run: RunFolder, several: bool) -> dict[str, Any]:
    final = next(r for r in read_jsonl(run.path / "metrics.jsonl").records if r["kind"] == "final")
    certified = read_json(run.path / "certificate.json")["rows"][cell.strategy]
    sent = sum(record["bytes_up"] for record in read_jsonl(run.path / "cost.jsonl").records)
    return {
        "strategy": cell.strategy,
        # The plot draws one line per strategy and place of noise; protections become lines of their own.
        "noise": f"{cell.noise} ({cell.protection})" if several else cell.noise,
        "epsilon": None if math.isinf(cell.epsilon) else cell.epsilon,
        "seed": cell.seed,
        **{name: final[name] for name in ("micro", "task_mean", "forgetting", "class_mean", "worst_client")},
        "protection": cell.protection,
        "epsilon_spent": certified["epsilon"],
        "bytes_up_per_client": sent // cell.config.scenario.clients,
        "run": cell.key,
    }


def _write(rows: list[dict[str, Any]], table: Path, plot: Path) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*COLUMNS, *_EXTRA], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    atomic_write(table, buffer.getvalue())
    atomic_write(plot, plot_study(aggregate(read_study(table))))
