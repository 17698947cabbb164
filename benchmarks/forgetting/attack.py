"""Membership on old tasks, each world attacked by the others: its models against theirs, whose coins are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.games.judging import Coin, Terms, epsilon_lower
from attacks.membership.families import BAVARIA, family_scores
from benchmarks.forgetting.kept import EPSILONS, Cell, read
from benchmarks.forgetting.worlds import CLIENTS, ROWS, Bench, Told, coins_of
from evaluation import auc, mean_interval

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Line = dict[str, Any]
FEWEST_WORLDS = 5


def scores_against(observed: Floats, shadows: Floats, trained: Bools) -> tuple[Floats, Bools]:
    """BaVarIA-n scores of one world against others, (n,), and which candidates they can be given for, bool (n,).

    Args:
        observed: signals of the attacked model, (n,).
        shadows: of the other worlds' models, (S, n).
        trained: bool (S, n), their coins.

    A candidate needs a world of either kind among the others; its own coin in the attacked world has no say in it.
    """
    asked = trained.any(axis=0) & ~trained.all(axis=0)
    out = np.zeros(len(observed))
    out[asked] = family_scores(BAVARIA, observed[asked], shadows[:, asked], trained[:, asked])
    return out, asked


def by_coin(values: NDArray[Any], cluster: NDArray[np.int64]) -> Floats:
    """Means over the candidates of each coin, in the order of the coins' numbers."""
    _, place = np.unique(cluster, return_inverse=True)
    return np.asarray(np.bincount(place, weights=values) / np.bincount(place))


def line_of(bench: Bench, row: str, epsilon: float, worlds: Sequence[Told], retrained: Sequence[Told]) -> Line:
    """Everything that the page says of a row at a budget; intervals are 95 %, Student's over worlds."""
    trained = np.stack([~coins_of(bench, world)[bench.candidates] for world in range(len(worlds))])
    ways = {"then": np.stack([told.then for told in worlds]), "last": np.stack([told.last for told in worlds])}
    found: dict[str, list[float]] = {name: [] for name in ("then", "last", "kept", "bound_then", "bound_last")}
    for world, told in enumerate(worlds):
        others = np.arange(len(worlds)) != world
        for way, signal in ways.items():
            scores, asked = scores_against(signal[world], signal[others], trained[others])
            found[way].append(_auc(scores, trained[world], bench, asked))
            found[f"bound_{way}"].append(_bound(scores, trained[world], bench, asked, world, told.delta))
            kept = told.kept & trained[world]
            if way == "last" and kept.any():
                found["kept"].append(_auc(scores, kept, bench, asked & (kept | ~trained[world])))
    fallen = [then - last for then, last in zip(found["then"], found["last"], strict=True)]
    control = [_control(bench, told, ways["last"], trained, world) for world, told in enumerate(retrained)]
    means = {
        "right_then": [told.right_then for told in worlds], "right_last": [told.right_last for told in worlds],
        "forgotten": [told.right_then - told.right_last for told in worlds], "auc_then": found["then"],
        "auc_last": found["last"], "auc_fallen": fallen, "auc_kept": found["kept"],
        "right_retrained": [told.right_last for told in retrained], "auc_retrained": control,
    }  # fmt: skip
    return {
        "data": bench.name, "row": row, "epsilon": None if math.isinf(epsilon) else epsilon, "worlds": len(worlds),
        "references": len(retrained), "clients": CLIENTS, "tasks": bench.tasks, "members": int(bench.data.train.sum()),
        "coins": len(np.unique(bench.cluster)), **{name: _interval(values) for name, values in means.items()},
        "bound_then": float(np.median(found["bound_then"])), "bound_last": float(np.median(found["bound_last"])),
        "largest_bound": max(found["bound_then"] + found["bound_last"]),
        "memory": worlds[0].memory, "spent": _finite(worlds[0].epsilon), "block": _finite(worlds[0].block),
    }  # fmt: skip


def _auc(scores: Floats, truth: Bools, bench: Bench, asked: Bools) -> float:
    cluster = bench.cluster[asked]
    return auc(by_coin(scores[asked], cluster), by_coin(truth[asked], cluster) > 0)


def _bound(scores: Floats, truth: Bools, bench: Bench, asked: Bools, world: int, delta: float) -> float:
    blocks = len(np.unique(bench.cluster)) < len(bench.cluster)
    terms = Terms(target=bench.name, seed=world, coin=Coin(0.5, per_cluster=blocks), delta=delta)
    bound = epsilon_lower(scores[asked], truth[asked], bench.cluster[asked], terms)
    return math.nan if bound is None else bound.value


def _control(bench: Bench, told: Told, signals: Floats, trained: Bools, world: int) -> float:
    others = np.arange(len(signals)) != world
    scores, asked = scores_against(told.last, signals[others], trained[others])
    return _auc(scores, trained[world], bench, asked)


def _interval(values: Sequence[float]) -> list[float | None]:
    score = mean_interval(values)
    return [None if math.isnan(value) else round(value, 5) for value in (score.value, score.low, score.high)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def lines_of(bench: Bench, folder: Path, worlds: int) -> list[Line]:
    """Return a line for each row and budget of a data set, of the worlds that the folder has from the first on."""
    lines = []
    for epsilon in EPSILONS:
        for row in ROWS:
            told: dict[bool, list[Told]] = {True: [], False: []}
            for kind, found in told.items():
                for world in range(worlds):
                    one = read(Cell(data=bench.name, epsilon=epsilon, world=world, retrained=kind), folder, row)
                    if one is None:
                        break
                    found.append(one)
            if len(told[False]) >= FEWEST_WORLDS:
                lines.append(line_of(bench, row, epsilon, told[False], told[True]))
    return lines
