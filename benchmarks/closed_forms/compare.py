"""Closed forms on one set, with the strategies' own code for devices and server, and Gaussian noise in the sums.

All devices of a set are one here, as sums are the same whoever holds what; how many there are shows in the noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.closed_forms.sets import GeneratedSet, SetNumbers, Values, generated
from secure_fcl.strategies import DeviceView, Examples, Phase, StepContext, Strategy
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.strategies.entry import SumsNumbers

OTHERS = ("class_sums", "analytic", "slda")
ROWS = (*OTHERS, "calm")
_LEAST_DRAWS, _MOST_DRAWS = 3, 32
#: The more features, the longer a draw takes and the less accuracies move from one to the next.
_FEATURES_TIMES_DRAWS = 3_000
#: Draws end when the standard error of every row's accuracy, in points, is below this.
_ERROR = 0.4


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Accuracy in points by row after the last task, all classes alike, and its standard error over draws of noise."""

    accuracy: Mapping[str, float]
    error: Mapping[str, float]
    draws: int

    @property
    def gap(self) -> float:
        """Points that CALM is below the best other row; negative where it is best."""
        return max(self.accuracy[row] for row in OTHERS) - self.accuracy["calm"]


def outcome(numbers: SetNumbers, **settings: Any) -> Outcome:
    """Return how the rows do on a set. `settings`: of CALM's section, instead of its defaults."""
    found = generated(numbers)
    rows = {row: built(row, numbers, found, settings if row == "calm" else {}) for row in ROWS}
    seen: dict[str, list[float]] = {row: [] for row in ROWS}
    draw, error = 0, dict.fromkeys(ROWS, np.inf)
    most = max(_LEAST_DRAWS, min(_MOST_DRAWS, _FEATURES_TIMES_DRAWS // numbers.dimension))
    while draw < (most if numbers.noise else 1) and max(error.values()) > _ERROR:
        for row, (strategy, noise) in rows.items():
            seen[row].append(100.0 * learnt(strategy, noise, found, draw))
        draw += 1
        if draw >= _LEAST_DRAWS:
            error = {row: float(np.std(values, ddof=1) / np.sqrt(draw)) for row, values in seen.items()}
    known = error if numbers.noise else dict.fromkeys(ROWS, 0.0)
    return Outcome(accuracy={row: float(np.mean(values)) for row, values in seen.items()}, error=known, draws=draw)


def built(
    row: str, numbers: SetNumbers, found: GeneratedSet, settings: Mapping[str, Any]
) -> tuple[Strategy, Mapping[Phase, float]]:
    """Return a row's strategy on features as they are, told of its noise, and that noise by exchange."""
    entry: Any = ENTRIES[row]
    section = entry.section.model_copy(update={"features": "general", **settings})
    public = SumsNumbers(
        name=row, shape=(numbers.dimension,), classes=numbers.classes, examples=numbers.examples,
        widest_slot=max(len(task) for task in found.tasks), noisy=numbers.noise > 0, planned=numbers.examples,
    )  # fmt: skip
    # The general features of vectors are the vectors, but folded beyond 512.
    made = replace(entry.build(section, public), **{"own" if row == "class_sums" else "features": _as_they_are})
    noise = {phase: ratio * numbers.noise for phase, ratio in entry.ratios(section).items()}
    return entry.told(made, noise) if numbers.noise else made, noise


def _as_they_are(x: Any) -> Values:
    return np.asarray(x, dtype=np.float64)


def learnt(strategy: Strategy, noise: Mapping[Phase, float], found: GeneratedSet, draw: int) -> float:
    """Return the share of test examples that are right after the last task, with one draw of noise."""
    rng, state = np.random.default_rng((draw, 2)), strategy.initial()
    rows: Any = found.x
    nothing = Examples(rows[:0], found.y[:0])
    for slot, classes in enumerate(found.tasks):
        mine = np.isin(found.y, classes)
        view = DeviceView(Examples(rows[mine], found.y[mine]), nothing)
        for number, phase in enumerate(strategy.uploads):
            step = StepContext(slot=slot, round=number, classes=classes, phase=phase)
            parts = strategy.contribute(state, view, step, bytes).parts
            total = {name: part + noise[phase] * rng.normal(size=part.shape) for name, part in parts.items()}
            state = strategy.apply(state, step, total, 1)
    test: Any = found.x_test
    return float((strategy.scores(state, test).argmax(axis=1) == found.y_test).mean())
