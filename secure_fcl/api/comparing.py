"""`secure_fcl.compare`: what differs between runs, and what came of it, side by side."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.files import atomic_write
from secure_fcl.api.opened import Run, open_run
from secure_fcl.api.tables import Table, shown_as
from secure_fcl.config import load_tree
from secure_fcl.errors import InputRefused, SecureFclError


@dataclass(frozen=True, kw_only=True)
class ComparedLine:
    """The last figures of one strategy of one run; None: not measured, or not stated.

    Attributes:
        run: name of its folder; numbered where two are called alike.
        strategy: the row.
        noise: where its noise was added.
        unit: whose presence the epsilon is about, an example or a person.
        epsilon: of the certificate; None: nothing is guaranteed, or there is no certificate.
        guarantee: stated, none, or not stated yet.
        all_windows: share right of all test windows.
        class_mean: mean over classes.
        worst_client: of the client that is served worst.
        unseen_persons: share right of the test windows of persons who never trained (`data.unseen_persons`).
        forgetting: as in `Run.forgetting`.
        highest_auc: the largest AUC of an attack that is no control and not void; None: no audit of this strategy.
        highest_of: the game it is of; different games must not be ranked against each other.
        bytes_up: what one client sent.
    """

    run: str
    strategy: str
    noise: str
    unit: str = "example"
    epsilon: float | None = shown_as("bound")
    guarantee: str = ""
    all_windows: float | None = shown_as("share")
    class_mean: float | None = shown_as("share")
    worst_client: float | None = shown_as("share")
    unseen_persons: float | None = shown_as("share")
    forgetting: float | None = shown_as("share")
    highest_auc: float | None = shown_as("number")
    highest_of: str = ""
    bytes_up: float | None = shown_as("bytes")


@dataclass(frozen=True, kw_only=True)
class SettingLine:
    """One key of the configuration that is not the same in all runs; `values` in the order of the runs."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: the runs.
        results: one line for each strategy of each run.
        settings: the keys of the configuration that differ.
    """

    runs: tuple[Run, ...]
    results: Table[ComparedLine]
    settings: tuple[SettingLine, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as a JSON object: `runs`, `results`, `settings`."""
        names = _names(self.runs)
        return {
            "runs": [{"run": name, "folder": str(run.folder)} for name, run in zip(names, self.runs, strict=True)],
            "results": self.results.records(),
            "settings": [{"key": s.key, **dict(zip(names, s.values, strict=True))} for s in self.settings],
        }

    def write_page(self, path: Path) -> Path:
        """Write one HTML page that compares the runs, and return its path.

        Raises:
            SecureFclError: this installation has no such page.
        """
        try:
            module: Any = importlib.import_module("evaluation.comparison")
        except ImportError as error:
            raise SecureFclError("this version renders no comparison page; use --json, or the printed table") from error
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, module.render_comparison([run.folder for run in self.runs]))
        return path

    def __repr__(self) -> str:
        differ = [f"  {s.key}: {' | '.join(s.values)}" for s in self.settings]
        return "\n".join([repr(self.results), f"settings that differ ({len(differ)})", *differ])

    def _repr_html_(self) -> str:
        return self.results._repr_html_()


def compare_runs(runs: Sequence[Run | Path | str]) -> Comparison:
    """Open runs and set them side by side; see `secure_fcl.compare`."""
    if len(runs) < 2:
        raise InputRefused(f"{len(runs)} given of the runs that a comparison needs; name two or more")
    opened = tuple(run if isinstance(run, Run) else open_run(Path(run)) for run in runs)
    names = _names(opened)
    lines = [line for name, run in zip(names, opened, strict=True) for line in _lines(name, run)]
    note = "strategies of different epsilon or unit must not be ranked against each other"
    return Comparison(opened, Table("comparison", ComparedLine, tuple(lines), note), _different(opened))


def _names(runs: Sequence[Run]) -> list[str]:
    names = [run.name for run in runs]
    return [f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, 1)]


def _lines(name: str, run: Run) -> list[ComparedLine]:
    certified = {line.strategy: line for line in run.epsilon}
    forgot = {line.strategy: line for line in run.forgetting}
    costs = {line.strategy: line for line in run.cost}
    last = {line.strategy: line for line in run.accuracy}
    unit = str(load_tree(run.folder / "config.toml").get("privacy", {}).get("unit", "example"))
    found = []
    for strategy in run.strategies:
        stated, accuracy = certified.get(strategy), last.get(strategy)
        aucs = [
            (line.auc, line.game)
            for line in run.leakage
            if line.strategy == strategy and line.control is None and not line.void and line.auc is not None
        ]
        highest = max(aucs, default=(None, ""), key=lambda one: one[0] or 0.0)
        found.append(
            ComparedLine(
                run=name,
                strategy=strategy,
                noise=stated.noise if stated else accuracy.noise if accuracy else "?",
                unit=unit,
                epsilon=stated.epsilon if stated else None,
                guarantee="not stated yet" if stated is None else "none" if stated.epsilon is None else "stated",
                all_windows=accuracy.all_windows if accuracy else None,
                class_mean=accuracy.class_mean if accuracy else None,
                worst_client=accuracy.worst_client if accuracy else None,
                unseen_persons=accuracy.unseen_persons if accuracy else None,
                forgetting=forgot[strategy].forgetting if strategy in forgot else None,
                highest_auc=highest[0],
                highest_of=highest[1],
                bytes_up=costs[strategy].bytes_up if strategy in costs else None,
            )
        )
    return found


def _different(runs: Sequence[Run]) -> tuple[SettingLine, ...]:
    flat = [_flat(load_tree(run.folder / "config.toml")) for run in runs]
    keys = sorted({key for one in flat for key in one})
    values = {key: tuple(one.get(key, "not set") for one in flat) for key in keys}
    return tuple(SettingLine(key=key, values=found) for key, found in values.items() if len(set(found)) > 1)


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = str(value)
    return found
