"""What canaries of one run say of its ledger: a test of the trade-off curve, and a bound within a family.

Three statements that hold under less and less, kept apart:

- `epsilon_lower` of `attacks.games.judging` (Steinke et al. 2023): no (epsilon, delta) below it holds. Nothing is
  assumed but fair, independent coins.
- `curve_tests`: the mechanism has not the trade-off curve that the ledger claims (Mahloujifar et al. 2025, arXiv
  2410.22235). As little is assumed. Both directions are tested, by guesses on who was in and on who was out: where
  events are sampled, an example shows otherwise than its absence.
- `Family`: within a declared family, the same mechanism under any amount of noise, the member with the largest epsilon
  that the ranks of the scores refute. It says nothing of mechanisms outside the family, and is printed with that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from attacks.bounds.gaussian import refuted
from attacks.errors import AuditInvalid
from attacks.games.judging import Coin, Terms, guess_counts, purpose_seed

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Direction = Literal["in", "out"]

#: Epsilons at which a normal trade-off curve is held; between them it is bounded by its tangents from above.
_GRID = np.concatenate([-np.geomspace(60.0, 0.01, 200), [0.0], np.geomspace(0.01, 60.0, 200)])
#: Factors of noise between which the members of a family lie.
_LEAST_FACTOR, _MOST_FACTOR, _STEPS = 2.0**-10, 2.0**10, 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A trade-off curve by points of its privacy profile: P(A) <= e^epsilon Q(A) + delta for every event A.

    Few points claim less than all: a mechanism of the whole curve is one of these points.

    Attributes:
        epsilons, deltas: (k,) each, epsilons of any sign, deltas in [0, 1].

    Raises:
        AuditInvalid: no point, arrays of unequal length, an epsilon that is not finite, or a delta outside [0, 1].
    """

    epsilons: Floats
    deltas: Floats

    def __post_init__(self) -> None:
        epsilons, deltas = self.epsilons, self.deltas
        if epsilons.ndim != 1 or not len(epsilons) or epsilons.shape != deltas.shape:
            raise AuditInvalid(f"{epsilons.shape} epsilons and {deltas.shape} deltas are no curve; give one pair each")
        if not np.isfinite(epsilons).all() or not ((deltas >= 0.0) & (deltas <= 1.0)).all():
            raise AuditInvalid(
                f"epsilons from {epsilons.min()} to {epsilons.max()} must be finite, deltas from {deltas.min()} to "
                f"{deltas.max()} lie in [0, 1]"
            )

    def least(self, power: float) -> float:
        """Return the least rate of false alarms of any test of this power."""
        return max(0.0, float(((power - self.deltas) * np.exp(-self.epsilons)).max()))


def gaussian_curve(mu: float) -> Curve:
    """Return the trade-off curve of a Gaussian mechanism (Dong, Roth and Su 2022, corollary 2.13), both ways the same.

    Raises:
        AuditInvalid: mu is not positive and finite.
    """
    if not 0.0 < mu < math.inf:
        raise AuditInvalid(f"mu={mu} must be positive and finite: without noise there is no curve to test")
    deltas = special.ndtr(-_GRID / mu + mu / 2) - np.exp(_GRID + special.log_ndtr(-_GRID / mu - mu / 2))
    # A hundredth of a millionth more: what a difference of two rounded numbers may lack.
    return Curve(epsilons=_GRID, deltas=np.clip(deltas + 1e-12, 0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class CurveTest:
    """A test of a trade-off curve by guesses of one direction.

    Attributes:
        direction: "in": guesses who was in, against P(A | in) by P(A | out); "out": the other way round.
        p_value: of the claimed curve; a union over the numbers of guesses is paid for.
        rejected: p_value at most 1 - confidence.
        best: the smallest p-value that this many canaries could have shown, had every guess been right.
    """

    direction: Direction
    guessed: tuple[int, ...]
    correct: tuple[int, ...]
    p_value: float
    rejected: bool
    confidence: float
    best: float


def curve_tests(
    scores: Floats, truth: Bools, inward: Curve, outward: Curve, *, confidence: float = 0.95, seed: int = 0
) -> tuple[CurveTest, CurveTest]:
    """Test the trade-off curve that is claimed of one run, by canaries with fair coins, both directions.

    *Guarantee*: each p-value is at most alpha with probability at most alpha, for independent fair coins and scores
    that depend on coins through the run's output alone; nothing is assumed of the scores.

    Args:
        scores: (m,), higher for who looks in.
        truth: (m,), in or out.
        inward: bounds P(A | in) by P(A | out).
        outward: bounds P(A | out) by P(A | in).
        confidence: of each of both tests.
        seed: public seed of ties.

    Raises:
        AuditInvalid: no canary, unequal lengths, a score that is NaN, or confidence outside (0, 1).
        CoinsContradicted: the truth cannot have come from fair coins.
    """
    _check(scores, truth)
    if not 0.0 < confidence < 1.0:
        raise AuditInvalid(f"confidence={confidence} must lie inside (0, 1)")
    terms = Terms(target="canaries", seed=seed, coin=Coin(), guess="members")
    each = np.arange(len(scores))
    directions: tuple[tuple[Direction, float, Bools, Curve], ...] = (
        ("in", 1.0, truth, inward), ("out", -1.0, ~truth, outward)
    )  # fmt: skip
    found = []
    for direction, sign, right, curve in directions:
        counts = guess_counts(sign * scores, right, each, terms)
        assert counts is not None  # a coin was declared
        pairs = [(made, correct) for made, correct in zip(counts.guessed, counts.correct, strict=True) if made]
        p_value = _p_value(curve, [(made, correct) for made, correct in pairs], len(scores))
        found.append(
            CurveTest(
                direction=direction, guessed=tuple(made for made, _ in pairs), correct=tuple(c for _, c in pairs),
                p_value=p_value, rejected=p_value <= 1.0 - confidence, confidence=confidence,
                best=_p_value(curve, [(made, made) for made, _ in pairs], len(scores)),
            )
        )  # fmt: skip
    return found[0], found[1]


def _p_value(curve: Curve, pairs: list[tuple[int, int]], candidates: int) -> float:
    """Return the smallest level at which any of the counts refutes the curve, times how many counts there are."""
    smallest = 1.0
    for made, correct in pairs:
        low, high = -30.0, 0.0
        if not refuted(curve.least, correct, made, candidates=candidates, alpha=1.0 - 1e-12):
            continue
        while high - low > 1e-3:
            middle = (low + high) / 2
            hit = refuted(curve.least, correct, made, candidates=candidates, alpha=min(math.exp(middle), 1 - 1e-12))
            low, high = (low, middle) if hit else (middle, high)
        smallest = min(smallest, math.exp(high))
    return min(1.0, smallest * len(pairs))


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """The same mechanism under any amount of noise: the law of canaries' scores for each amount.

    The member of factor g has 1/g of the charged deviation. A canary that is out scores N(0, 1) under it, one that is
    in N(g * shift * k, 1), k being how many steps drew it. What the ledger claims is g = 1.

    Attributes:
        shifts: (m,), at the charged noise; none negative.
        draws: law of k, probabilities of 0, 1, 2, ...; None: every canary counts once.
        alike: (m, m), correlation of the scores' noise; None: independent.

    Raises:
        AuditInvalid: no canary, a shift that is negative or not finite, draws that are no probabilities, or a matrix of
            another shape.
    """

    shifts: Floats
    draws: Floats | None = None
    alike: Floats | None = None

    def __post_init__(self) -> None:
        shifts, draws, count = self.shifts, self.draws, len(self.shifts)
        if shifts.ndim != 1 or not count or not np.isfinite(shifts).all() or shifts.min() < 0.0:
            raise AuditInvalid(f"shifts of shape {shifts.shape} must be (m,), finite and not negative")
        if draws is not None and (draws.ndim != 1 or draws.min() < 0.0 or abs(draws.sum() - 1.0) > 1e-9):
            raise AuditInvalid(f"draws of shape {draws.shape} sum to {draws.sum()}; give the law of a count from 0 on")
        if self.alike is not None and self.alike.shape != (count, count):
            raise AuditInvalid(f"a correlation of shape {self.alike.shape} is not of {count} canaries")

    @cached_property
    def _factor(self) -> Floats | None:
        if self.alike is None:
            return None
        values, vectors = np.linalg.eigh(self.alike)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))

    def _worlds(self, truth: Bools, worlds: int, seed: int) -> tuple[Floats, Floats]:
        """Return noise (worlds, m), and what a canary's score is moved by at g = 1, same shape, 0 for who is out."""
        rng = np.random.default_rng(purpose_seed(seed, "attacks.bounds.recorded.family"))
        noise = rng.normal(size=(worlds, len(truth)))
        if self._factor is not None:
            noise = noise @ self._factor.T
        times = np.ones(noise.shape)
        if self.draws is not None:
            times = rng.choice(len(self.draws), size=noise.shape, p=self.draws / self.draws.sum()).astype(np.float64)
        return noise, np.where(truth, times * self.shifts, 0.0)

    def p_value(self, scores: Floats, truth: Bools, factor: float = 1.0, *, worlds: int = 999, seed: int = 0) -> float:
        """Return the one-sided p-value of a member by the ranks of the scores: small: they tell more.

        *Guarantee*: exact for scores of the family, being a Monte Carlo test, whatever the number of canaries; smaller
        shifts than declared make it larger. Worlds repeat the coins as they fell.

        Args:
            scores: (m,), each N(0, 1) where a canary is out and the member is true, up to one common scale.
            truth: (m,), in or out, both among them.
            factor: the member, above 0.
            worlds: that are drawn of the member's law.
            seed: public seed of the worlds.

        Raises:
            AuditInvalid: lengths differ, a score is NaN, or a number is out of range.
        """
        self._check(scores, truth, worlds)
        if not 0.0 < factor < math.inf:
            raise AuditInvalid(f"factor={factor} must be positive and finite")
        noise, moved = self._worlds(truth, worlds, seed)
        return _monte_carlo(_areas(scores[None], truth)[0], _areas(noise + factor * moved, truth))

    def largest_refuted(
        self, scores: Floats, truth: Bools, *, confidence: float = 0.95, worlds: int = 999, seed: int = 0
    ) -> float:
        """Return the largest factor g whose member is refuted at `confidence`; 0 if none from 2^-10 on is.

        In worlds of the same draws a score only grows with g, so all smaller members are refuted too.

        Raises:
            AuditInvalid: as `p_value`, or confidence outside (0, 1).
        """
        self._check(scores, truth, worlds)
        if not 0.0 < confidence < 1.0:
            raise AuditInvalid(f"confidence={confidence} must lie inside (0, 1)")
        noise, moved = self._worlds(truth, worlds, seed)
        seen = _areas(scores[None], truth)[0]

        def out(power: float) -> bool:
            return _monte_carlo(seen, _areas(noise + 2.0**power * moved, truth)) <= 1.0 - confidence

        low, high = math.log2(_LEAST_FACTOR), math.log2(_MOST_FACTOR)
        if not out(low):
            return 0.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if out(middle) else (low, middle)
        return float(2.0**low)

    def _check(self, scores: Floats, truth: Bools, worlds: int) -> None:
        _check(scores, truth)
        if len(scores) != len(self.shifts) or not 0 < truth.sum() < len(truth):
            raise AuditInvalid(
                f"{len(scores)} scores, {int(truth.sum())} of who was in, for {len(self.shifts)} canaries; give each "
                "one score, and canaries that were in and that were out"
            )
        if worlds < 19:
            raise AuditInvalid(f"worlds={worlds}: at least 19 are needed for a p-value of 1/20")


def _areas(scores: Floats, truth: Bools) -> Floats:
    """Return the area under each world's ROC curve, (worlds,), by mean ranks."""
    ranks = stats.rankdata(scores, axis=1)
    inside = int(truth.sum())
    return np.asarray((ranks[:, truth].sum(axis=1) - inside * (inside + 1) / 2) / (inside * (len(truth) - inside)))


def _monte_carlo(seen: float, drawn: Floats) -> float:
    # A hair: areas of equal ranks must count as equal.
    return (1 + int((drawn >= seen - 1e-12).sum())) / (1 + len(drawn))


def _check(scores: Floats, truth: Bools) -> None:
    if scores.ndim != 1 or scores.shape != truth.shape or not len(scores) or np.isnan(scores).any():
        raise AuditInvalid(f"scores of shape {scores.shape} and truths {truth.shape} must be (m,) and hold no NaN")
