"""Generated sets of public features: classes, dimension, examples, imbalance, clients, noise and budget at random.

A set is a mixture of Gaussians or heavier tails around class means, with a spectrum that falls by a power, put on the
unit sphere. What is drawn for a set follows from its seed alone, so a new seed is a set that nobody has seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.allocator import split_releases

Values = NDArray[np.float64]
Labels = NDArray[np.int64]

DELTA = 1e-5
#: Skellam noise under the accountant of the product, over an analytic Gaussian: 6 to 9 % more from epsilon 1 to 8.
SKELLAM = 1.08
_MOST_VALUES = 2_000_000
_TEST_EXAMPLES = 1_500


@dataclass(frozen=True, kw_only=True)
class SetNumbers:
    """What is publicly known of a set, and its seed. `smallest`: examples of its rarest class over its largest."""

    seed: int
    classes: int
    dimension: int
    examples: int
    smallest: float
    clients: int
    place: str
    epsilon: float
    tasks: int

    @property
    def noise(self) -> float:
        """Standard deviation of an entry of a sum if one release had the whole budget, sensitivity 1; 0: none."""
        if math.isinf(self.epsilon):
            return 0.0
        (one,) = split_releases(self.epsilon, DELTA, (1.0,))
        # Shared: one colluder and a tenth of the clients missing are planned for, and all are there.
        honest = max(1, self.clients - 1 - self.clients // 10)
        return SKELLAM * one * math.sqrt(self.clients if self.place == "local" else self.clients / honest)


def numbers_of(seed: int) -> SetNumbers:
    """Return the numbers of a set: sizes are spread evenly on a logarithmic scale."""
    rng = np.random.default_rng((seed, 0))

    def between(low: float, high: float) -> int:
        return round(math.exp(rng.uniform(math.log(low), math.log(high))))

    classes, dimension = between(2, 50), between(16, 1000)
    examples = min(between(max(100, 4 * classes), 60_000), _MOST_VALUES // dimension)
    epsilon = math.inf if rng.random() < 0.15 else round(math.exp(rng.uniform(math.log(0.5), math.log(10.0))), 2)
    return SetNumbers(
        seed=seed, classes=classes, dimension=dimension, examples=examples,
        smallest=float(rng.choice([1.0, 0.01])), clients=between(2, 300),
        place="none" if math.isinf(epsilon) else str(rng.choice(["local", "shared"])), epsilon=epsilon,
        tasks=min(classes, int(rng.integers(1, 7))),
    )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneratedSet:
    """Rows of norm 1 (n, d) and labels (n,) to train on and to test with; the classes of every task, in order."""

    x: Values
    y: Labels
    x_test: Values
    y_test: Labels
    tasks: tuple[tuple[int, ...], ...]


def generated(numbers: SetNumbers) -> GeneratedSet:
    """Return the examples of a set. Every class has as many test examples as any other."""
    rng = np.random.default_rng((numbers.seed, 1))
    classes, d = numbers.classes, numbers.dimension
    spread = (1.0 + np.arange(d)) ** -rng.uniform(0.2, 1.4)
    spread /= spread.sum()
    modes = int(rng.choice([1, 1, 1, 2, 3]))
    # Means lie more or less where examples of one class spread anyway; far apart in units of that spread.
    means = rng.normal(size=(classes, d)) * spread ** (rng.uniform(0.3, 1.2) / 2)
    apart = means - means.mean(axis=0)
    distance = rng.uniform(3.0, 9.0) * (1.0 + math.log(classes) / 8)
    means *= distance / math.sqrt(2 * float((apart**2 / spread).sum(axis=1).mean()) * classes / max(1, classes - 1))
    several = rng.uniform(0.5, 1.5) * (modes > 1)
    centres = means[:, None] + several * rng.normal(size=(classes, modes, d)) * np.sqrt(spread)
    model = _Model(
        centres=centres, deviation=np.sqrt(spread),
        widths=np.exp(rng.normal(scale=rng.uniform(0.0, 0.4), size=classes)),
        offset=rng.choice([0.0, 0.5, 1.5]) * _unit(rng.normal(size=d)),
        freedom=float(rng.choice([4.0, np.inf, np.inf])),
        turn=np.linalg.qr(rng.normal(size=(d, d)))[0], positive=bool(rng.random() < 0.25),
    )  # fmt: skip
    share = numbers.smallest ** (np.arange(classes) / max(1, classes - 1))
    counts = np.maximum(2, np.round(numbers.examples * rng.permutation(share) / share.sum())).astype(int)
    y = np.repeat(np.arange(classes), counts)
    y_test = np.repeat(np.arange(classes), max(20, _TEST_EXAMPLES // classes))
    order = rng.permutation(classes)
    return GeneratedSet(
        x=model.rows(y, rng), y=y, x_test=model.rows(y_test, rng), y_test=y_test,
        tasks=tuple(tuple(int(c) for c in part) for part in np.array_split(order, numbers.tasks)),
    )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class _Model:
    centres: Values
    deviation: Values
    widths: Values
    offset: Values
    freedom: float
    turn: Values
    positive: bool

    def rows(self, y: Labels, rng: np.random.Generator) -> Values:
        found = rng.normal(size=(len(y), len(self.deviation))) * self.deviation * self.widths[y, None]
        if math.isfinite(self.freedom):
            found *= np.sqrt(self.freedom / rng.chisquare(self.freedom, size=len(y)))[:, None]
        found += self.centres[y, rng.integers(0, self.centres.shape[1], size=len(y))]
        found = found @ self.turn.T + self.offset
        return _unit(np.maximum(found, 0.0) if self.positive else found)


def _unit(rows: Values) -> Values:
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0.0, norms, 1.0) * (1.0 - 2.0**-30))
