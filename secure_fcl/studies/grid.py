"""A study file as cells: any key of the configuration is an axis, and every cell is checked before anything runs."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secure_fcl.config import Config, load_tree, validate
from secure_fcl.config.names import entry_of, has_place, row_name
from secure_fcl.config.outside import names_code
from secure_fcl.config.reading import key_path
from secure_fcl.engines.simulation import file_stem
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.studies.choice import Choice, choice_of

AXES = ("strategy", "noise", "epsilon", "protection", "seed")
"""The axes with a name of their own; every other is a key of the configuration."""

_SECTIONS = {"base", "grid", "private_selection"}
_FEW = 40


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a study: its place in the grid and its configuration.

    Attributes:
        settings: values of the axes that are keys of the configuration, in the order of the study file; a key of
            another strategy's section is left out.
    """

    strategy: str
    noise: str
    epsilon: float
    protection: str
    seed: int
    config: Config
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> str:
        """Name of the run's folder: readable, and unique to the whole configuration."""
        digest = hashlib.sha256(json.dumps(self.config.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
        epsilon = "inf" if math.isinf(self.epsilon) else f"{self.epsilon:g}"
        extra = "".join(f"-{name.rpartition('.')[2]}{_plain(value)}" for name, value in self.settings)[:_FEW]
        stem = f"{self.strategy}-{self.noise}-eps{epsilon}-{self.protection}{extra}-seed{self.seed}-{digest[:8]}"
        return file_stem(stem)

    @property
    def setting(self) -> str:
        """The values of `settings` in words; empty without any."""
        return ", ".join(f"{name} = {_plain(value)}" for name, value in self.settings)

    @property
    def label(self) -> str:
        """The whole place in the grid in words."""
        place = f"{self.strategy}, noise {self.noise}, epsilon {self.epsilon:g}, {self.protection}, seed {self.seed}"
        return f"{place}, {self.setting}" if self.settings else place


def _plain(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, bool | list | dict) else str(value)
    return re.sub(r"[^\w.+:-]", "_", text)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study file: its cells, all valid, and how the best of them is chosen privately, if it is."""

    cells: tuple[Cell, ...]
    choice: Choice | None = None


def open_study(path: Path) -> Study:
    """Return a study file with each configuration checked.

    The file has [base], a configuration, and [grid], a list for each axis: strategy, noise, epsilon, protection, seed,
    or any key of the configuration such as "scenario.clients". An axis that is not named has the value of [base], or
    class_sums, local, 2.0, plain and 1. epsilon = inf stands for no noise and is run once, whatever the places of
    noise; a place that a strategy does not have is left out. [private_selection]: see `Choice`.

    Raises:
        ConfigInvalid: unknown sections, lists that are none, or a cell that no configuration allows: names both.
    """
    return study_of(load_tree(path), f"study {path}")


def load_study(path: Path) -> tuple[Cell, ...]:
    """Return the cells of a study file that chooses nothing privately; see `open_study`.

    Raises:
        ConfigInvalid: as `open_study`; or the file has [private_selection], which cells alone cannot keep.
    """
    study = open_study(path)
    if study.choice is not None:
        raise ConfigInvalid(
            f"study {path}: [private_selection] shows the best run alone, and its cells cannot be run one by one; run "
            "it with secure-fcl study, or leave the section out"
        )
    return study.cells


def study_of(tree: Mapping[str, Any], where: str = "study") -> Study:
    """Return the study of a parsed file; `where` begins every error's sentence.

    Raises:
        ConfigInvalid: as `open_study`.
    """
    if unknown := set(tree) - _SECTIONS:
        raise ConfigInvalid(
            f"{where}: unknown sections {sorted(unknown)}; a study has [base], [grid] and [private_selection]"
        )
    for section in _SECTIONS:
        if not isinstance(tree.get(section, {}), dict):
            raise ConfigInvalid(f"{where}: {section} = {tree[section]!r} must be a section")
    base, axes = tree.get("base", {}), dict(_axes(tree.get("grid", {}), where))
    cells: dict[str, Cell] = {}
    for place in _places(base, axes, where):
        cell = _cell(base, place, where)
        if cell is not None:
            cells.setdefault(cell.key, cell)
    if not cells:
        raise ConfigInvalid(f"{where}: no cell of the grid exists; local_only has no sum to share noise in")
    choice = choice_of(tree["private_selection"], where) if "private_selection" in tree else None
    return Study(cells=tuple(cells.values()), choice=choice)


def _axes(grid: Mapping[str, Any], where: str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, list[Any]]]:
    """Yield every axis with its values; `a.b = [..]` without quotes is a table inside a table to TOML."""
    for key, values in grid.items():
        path = (*above, *key_path(key))
        if isinstance(values, dict) and values:
            yield from _axes(values, where, path)
            continue
        name = ".".join(path)
        if not isinstance(values, list) or not values:
            raise ConfigInvalid(f"{where}: grid.{name} = {values!r} must be a list with at least one value")
        if name == "rows":
            raise ConfigInvalid(f"{where}: grid.rows: every cell runs one strategy; name the axis strategy")
        yield name, values


def _owner(name: str) -> str | None:
    """Return the strategy whose section a key belongs to, if it is one's."""
    first = key_path(name)[0]
    return first if first != name and (first in ENTRIES or names_code(first)) else None


def _places(base: Mapping[str, Any], axes: Mapping[str, list[Any]], where: str) -> Iterator[dict[str, Any]]:
    """Yield the value of every axis for every cell; seeds vary fastest, so that those of one point follow another."""
    others = [name for name in axes if name not in AXES]
    owners = list(dict.fromkeys(owner for owner in map(_owner, others) if owner))
    rows = base.get("rows")
    strategies = axes.get("strategy") or rows or owners or ["class_sums"]
    for strategy in strategies if isinstance(strategies, list) else [strategies]:
        _known(strategy, where)
    if lost := [owner for owner in owners if owner not in strategies]:
        raise ConfigInvalid(f"{where}: grid has keys of {lost[0]}, which no cell runs; add it to grid.strategy")
    for strategy in strategies:
        own = base.get(strategy, {})
        if not isinstance(own, dict):
            raise ConfigInvalid(f"{where}: base.{strategy} = {own!r} must be a section")
        mine = [name for name in others if _owner(name) in (None, strategy)]
        if twice := [name for name in ("noise", "epsilon") if name in axes and f"{strategy}.{name}" in mine]:
            raise ConfigInvalid(f"{where}: grid has both {twice[0]} and {strategy}.{twice[0]}; keep one of them")
        values = {
            "noise": axes.get("noise", [own.get("noise", "local")]),
            "epsilon": axes.get("epsilon", [own.get("epsilon", 2.0)]),
            "protection": axes.get("protection", [base.get("protection", "plain")]),
            **{name: axes[name] for name in mine},
            "seed": axes.get("seed", [base.get("seed", 1)]),
        }
        for combination in itertools.product(*values.values()):
            yield {"strategy": strategy, **dict(zip(values, combination, strict=True))}


def _known(strategy: Any, where: str) -> None:
    try:
        row_name(strategy)
    except (ValueError, TypeError) as error:
        raise ConfigInvalid(f"{where}: grid.strategy has {strategy!r}; {error}") from None


def _cell(base: Mapping[str, Any], place: Mapping[str, Any], where: str) -> Cell | None:
    strategy, protection, seed = place["strategy"], place["protection"], place["seed"]
    settings = tuple((name, value) for name, value in place.items() if name not in AXES)
    given = dict(settings)
    epsilon = given.get(f"{strategy}.epsilon", place["epsilon"])
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float):
        raise ConfigInvalid(f"{where}: grid.epsilon has {epsilon!r}; give numbers, inf for no noise")
    noise = "none" if math.isinf(epsilon) else given.get(f"{strategy}.noise", place["noise"])
    if noise == "none" and not math.isinf(epsilon):
        return None
    if noise == "shared" and not has_place(strategy, "shared"):
        return None
    tree = copy.deepcopy(dict(base))
    for name, value in (*settings, (f"{strategy}.epsilon", epsilon), (f"{strategy}.noise", noise)):
        _put(tree, name, value, where)
    tree |= {"rows": [strategy], "protection": protection, "seed": seed}
    _attacked(tree, strategy, where)
    words = ", ".join(f"{name} = {value!r}" for name, value in place.items())
    try:
        config = validate(tree)
    except ConfigInvalid as error:
        raise ConfigInvalid(f"{where}, cell {words}: {error}") from None
    # Noise that a key of the section names is the cell's noise, and no setting beside it.
    settings = tuple((n, v) for n, v in settings if n not in (f"{strategy}.epsilon", f"{strategy}.noise"))
    return Cell(
        strategy=strategy, noise=noise, epsilon=float(epsilon), protection=protection, seed=seed, config=config,
        settings=settings,
    )  # fmt: skip


def _put(tree: dict[str, Any], name: str, value: Any, where: str) -> None:
    node, (*parents, leaf) = tree, key_path(name)
    for depth, parent in enumerate(parents, 1):
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            path = ".".join(parents[:depth])
            raise ConfigInvalid(f"{where}: base.{path} = {node!r} must be a section, as the grid has {name}")
    node[leaf] = value


def _attacked(tree: dict[str, Any], strategy: str, where: str) -> None:
    """Fill in what a study leaves out: no attacks, or those on the cell's strategy, and the transcript they need."""
    attacks = tree.setdefault("attacks", {})
    if not isinstance(attacks, dict):
        raise ConfigInvalid(f"{where}: base.attacks = {attacks!r} must be a section")
    if attacks.setdefault("enabled", False) and entry_of(strategy).attackable:
        attacks.setdefault("row", strategy)
    tree.setdefault("transcript", "full" if attacks["enabled"] else "latest")
