"""Choosing the best of a random number of runs, and what that costs: private selection by Renyi divergence.

Source: Papernot and Steinke 2022, "Hyperparameter Tuning with Renyi Differential Privacy" (arXiv 2110.03620). The
number of runs is drawn from a distribution that is wide enough to hide whether one more run helped; every run is drawn
anew and alike (a cell of a public grid at random, with fresh noise); only the best leaves.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.accountants import ORDERS
from privacy.errors import InvalidParameter
from privacy.renyi import epsilon_at

Floats = NDArray[np.float64]

#: What a drawn number of runs may differ from its law by, in total variation: sums of at most `MOST_RUNS` doubles.
DRAW_ERROR = 2.0**-40
#: Beyond this many runs nobody waits, and the draw is refused before it is made.
MOST_RUNS = 1_000_000
_GOOD_BITS = 64


class Runs(Protocol):
    """A law of the number of runs."""

    @property
    def mean(self) -> float:
        """Expected number of runs."""

    def probability(self, runs: int) -> float:
        """Return the probability of so many runs."""

    def selected(self, orders: Sequence[float], curve: Floats) -> Floats:
        """Return the Renyi curve of the best of them from that of one run, at the same orders."""


@dataclass(frozen=True, kw_only=True)
class NegativeBinomial:
    """The truncated negative binomial law of Definition 1: at least one run; eta = 1 geometric, 0 logarithmic.

    A smaller `gamma` means more runs, a smaller `eta` a wider law, which costs less for the same mean.

    Raises:
        InvalidParameter: eta is not above -1, or gamma outside (0, 1).
    """

    eta: float
    gamma: float

    def __post_init__(self) -> None:
        if not -1.0 < self.eta < math.inf:
            raise InvalidParameter(f"eta={self.eta} must be above -1 and finite; 0 or 1 are usual")
        if not 0.0 < self.gamma < 1.0:
            raise InvalidParameter(f"gamma={self.gamma} is outside (0, 1); a smaller one means more runs")

    @staticmethod
    def of_mean(eta: float, mean: float) -> NegativeBinomial:
        """Return the law of a mean number of runs.

        Raises:
            InvalidParameter: the mean is not above 1 and at most `MOST_RUNS`, or eta not above -1.
        """
        if not 1.0 < mean <= MOST_RUNS:
            raise InvalidParameter(f"mean={mean} runs must be above 1 and at most {MOST_RUNS}; 10 is usual")
        low, high = math.log(1e-18), math.log1p(-1e-12)
        for _ in range(200):
            middle = (low + high) / 2.0
            low, high = (
                (low, middle) if NegativeBinomial(eta=eta, gamma=math.exp(middle)).mean < mean else (middle, high)
            )
        return NegativeBinomial(eta=eta, gamma=math.exp(low))

    @property
    def mean(self) -> float:
        """Expected number of runs (Definition 1)."""
        more = 1.0 / self.gamma - 1.0
        if self.eta == 0.0:
            return more / -math.log(self.gamma)
        return self.eta * more / -math.expm1(self.eta * math.log(self.gamma))

    def probability(self, runs: int) -> float:
        """Return the probability of so many runs; 0 of none."""
        if runs < 1:
            return 0.0
        tail = runs * math.log1p(-self.gamma)
        if self.eta == 0.0:
            return math.exp(tail) / (runs * -math.log(self.gamma))
        # prod (l + eta) / (l + 1) for l < runs; for eta < 0 its first factor is negative, and so is the divisor.
        rising = math.lgamma(runs + self.eta) - math.lgamma(1.0 + self.eta) - math.lgamma(runs + 1.0)
        return math.exp(tail + rising) * self.eta / math.expm1(-self.eta * math.log(self.gamma))

    def selected(self, orders: Sequence[float], curve: Floats) -> Floats:
        """Return the curve of the best run by Theorem 2, shape (orders,).

        eps'(a) = eps(a) + (1 + eta) min_b[(1 - 1/b) eps(b) + log(1/gamma) / b] + log E[K] / (a - 1). *Guarantee*: for
        neighbours in both directions, if `curve` bounds both.
        """
        a = np.asarray(orders)
        finite = np.isfinite(curve)
        if not finite.any():
            return np.full(len(a), math.inf)
        bounds = (1.0 - 1.0 / a[finite]) * curve[finite] - math.log(self.gamma) / a[finite]
        # b = 1 is an order as well, and its own term vanishes.
        least = min(float(bounds.min()), -math.log(self.gamma))
        return _falling(curve + (1.0 + self.eta) * least + math.log(self.mean) / (a - 1.0))


@dataclass(frozen=True, kw_only=True)
class PoissonRuns:
    """A Poisson number of runs; with none, nothing is chosen and nothing shown.

    Raises:
        InvalidParameter: the mean is below 1 or above `MOST_RUNS`.
    """

    mean: float

    def __post_init__(self) -> None:
        if not 1.0 <= self.mean <= MOST_RUNS:
            raise InvalidParameter(f"mean={self.mean} runs must be at least 1 and at most {MOST_RUNS}; 10 is usual")

    def probability(self, runs: int) -> float:
        """Return the probability of so many runs."""
        return math.exp(runs * math.log(self.mean) - self.mean - math.lgamma(runs + 1.0)) if runs >= 0 else 0.0

    def selected(self, orders: Sequence[float], curve: Floats) -> Floats:
        """Return the curve of the best run by Theorem 6, shape (orders,).

        eps'(a) = eps(a) + mean d(a) + log(mean) / (a - 1), where one run is (log(1 + 1 / (a - 1)), d(a))-DP; d comes
        from the curve itself. *Guarantee*: as `NegativeBinomial.selected`.
        """
        from dp_accounting.rdp import rdp_privacy_accountant as rdp

        a = np.asarray(orders)
        finite = np.isfinite(curve)
        if not finite.any():
            return np.full(len(a), math.inf)
        usable, bounds = a[finite].tolist(), curve[finite].tolist()
        # One rounding below the largest epsilon that the theorem allows.
        steps = [math.log1p(1.0 / (order - 1.0)) * (1.0 - 1e-12) for order in a]
        deltas = np.array([float(rdp.compute_delta(usable, bounds, step)[0]) for step in steps])
        return _falling(curve + self.mean * deltas + math.log(self.mean) / (a - 1.0))


def _falling(curve: Floats) -> Floats:
    # Renyi divergence does not fall with its order: the bound of a higher order holds at a lower one.
    return np.minimum.accumulate(curve[::-1])[::-1].copy()


def selected_epsilon(runs: Runs, curve: Floats, delta: float, failure: float = 0.0) -> float:
    """Return epsilon at `delta` of showing only the best run; inf where one run has no bound.

    Args:
        runs: law of their number.
        curve: Renyi divergence of the worst run at every order of `privacy.accountants.ORDERS`, float64 (orders,);
            where runs are drawn from a grid, the pointwise maximum over its cells.
        delta: of the selection as a whole.
        failure: bound of the probability that the curve does not hold for one run; each run has its own, so their
            expected number counts, and so does what the draw's arithmetic may differ from the law.

    Raises:
        InvalidParameter: delta is outside (0, 1).
    """
    chosen = runs.selected(ORDERS, curve)
    return epsilon_at(ORDERS, chosen.tolist(), delta, runs.mean * failure + DRAW_ERROR)


def draw_runs(runs: Runs, below: Callable[[int], int] = secrets.randbelow) -> int:
    """Return a number of runs by inversion, from the operating system's generator unless `below` says otherwise.

    `below(n)` returns an integer of 0..n - 1, each as likely.

    *Guarantee*: within `DRAW_ERROR` of the law in total variation. Whoever learns the number, or draws it again because
    it did not please, has no guarantee.

    Raises:
        InvalidParameter: more than `MOST_RUNS` came out; nothing has run then.
    """
    wanted = (below(2**_GOOD_BITS) + 0.5) / 2.0**_GOOD_BITS
    total = 0.0
    for number in range(MOST_RUNS + 1):
        total += runs.probability(number)
        if wanted < total:
            return number
    raise InvalidParameter(f"the law of mean {runs.mean:.4g} gave more than {MOST_RUNS} runs; choose a smaller mean")
