"""Laws that scores must follow if a mechanism is what its ledger says: exact distributions, and tests against them.

A bound on epsilon tells that a mechanism leaks more than was charged; with few canaries, or a large epsilon, it is
blind. A canary with a fixed gradient shows more: under the claim its score is `shift` times the number of steps that
drew it, plus normal noise of a known size, and any other distribution is another mechanism. Every p-value here is
uniform under the claim: nothing is fitted, and nothing holds only for many scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from attacks.errors import AuditInvalid

Floats = NDArray[np.float64]

LAW_LEVEL = 1e-6
"""p-value below which a law counts as broken."""
#: Normal scores end here, where the probabilities they come from leave double precision.
_FARTHEST = 37.0
#: Smallest probability that double precision holds to its full number of digits.
_SMALLEST = 1e-300


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreLaw:
    """The law of `shift` times a count plus N(0, std^2): the count k has probability `counts[k]`.

    Raises:
        AuditInvalid: the counts are no probabilities, the shift is not finite, or std is not positive and finite.
    """

    counts: Floats
    shift: float
    std: float

    def __post_init__(self) -> None:
        counts = self.counts
        if counts.ndim != 1 or not len(counts) or counts.min() < 0 or abs(counts.sum() - 1.0) > 1e-9:
            raise AuditInvalid(
                f"counts of shape {counts.shape} sum to {counts.sum()}; give probabilities of 0, 1, 2, …"
            )
        if not math.isfinite(self.shift) or not 0.0 < self.std < math.inf:
            raise AuditInvalid(f"shift={self.shift} must be finite and std={self.std} positive and finite")

    @property
    def mean(self) -> float:
        """Expectation."""
        return self.shift * float(self.counts @ np.arange(len(self.counts)))

    @property
    def variance(self) -> float:
        """Variance."""
        numbers = np.arange(len(self.counts))
        drawn = float(self.counts @ numbers**2) - float(self.counts @ numbers) ** 2
        return self.std**2 + self.shift**2 * drawn

    def below(self, values: Floats) -> Floats:
        """Return P(score <= value) for each value, in the shape of the values."""
        return self._mixture(values, 1.0)

    def above(self, values: Floats) -> Floats:
        """Return P(score > value) for each value, right where it is tiny."""
        return self._mixture(values, -1.0)

    def normal_scores(self, values: Floats) -> Floats:
        """Return values that are standard normal if the scores follow the law: the same quantile of N(0, 1)."""
        below, above = self.below(values), self.above(values)
        scores = np.where(
            below < above, special.ndtri(np.maximum(below, _SMALLEST)), -special.ndtri(np.maximum(above, _SMALLEST))
        )
        return np.asarray(np.clip(scores, -_FARTHEST, _FARTHEST))

    def _mixture(self, values: Floats, sign: float) -> Floats:
        found = np.zeros(np.shape(values))
        for number, chance in enumerate(self.counts):
            if chance > 0.0:
                found += chance * special.ndtr(sign * (values - self.shift * number) / self.std)
        return np.clip(found, 0.0, 1.0)


def drawn_counts(steps: Sequence[tuple[float, int]]) -> Floats:
    """Return the Poisson-binomial law of how many steps draw an example: probabilities of 0, 1, 2, …

    Args:
        steps: rate and number of steps of each kind; every step draws by a coin of its own.

    Raises:
        AuditInvalid: a rate outside [0, 1], or a negative number of steps.
    """
    law = np.ones(1)
    for rate, number in steps:
        if not 0.0 <= rate <= 1.0 or number < 0:
            raise AuditInvalid(f"{number} steps at rate {rate}: give a number of steps, and a probability")
        law = np.convolve(law, stats.binom.pmf(np.arange(number + 1), number, rate))
    return np.asarray(law / law.sum())


def kept_counts(before: Floats, afterwards: Floats, kept: float) -> Floats:
    """Return the law of a count to which `afterwards` is added only if one coin of probability `kept` says so.

    For an example that is drawn while it is current, and from a memory only if that keeps it.

    Raises:
        AuditInvalid: `kept` is no probability.
    """
    if not 0.0 <= kept <= 1.0:
        raise AuditInvalid(f"kept={kept} must be a probability")
    coin = kept * afterwards
    coin[0] += 1.0 - kept
    return np.convolve(before, coin)


def remainders(values: Floats, shift: float, std: float) -> Floats:
    """Return what scores leave beside whole multiples of `shift`, in units of `std`; standard normal under the claim.

    Where the noise is much smaller than what one draw adds, this sees a draw that adds a little more or less.

    Raises:
        AuditInvalid: counts are less than 12 std apart, so that one could be taken for another.
    """
    if not 12.0 * std <= abs(shift) < math.inf:
        raise AuditInvalid(f"shift={shift} is below 12 std={std}; test the distribution instead")
    return np.asarray((values - shift * np.round(values / shift)) / std)


def distribution_p_value(law: ScoreLaw, values: Floats) -> float:
    """Return the two-sided Kolmogorov-Smirnov p-value of independent values against a law, by its exact distribution.

    Raises:
        AuditInvalid: there is no value, or one that is not finite.
    """
    return uniformity_p_value(law.below(_finite(values)))


def uniformity_p_value(values: Floats) -> float:
    """Return the same of values that should be uniform on (0, 1).

    Raises:
        AuditInvalid: there is no value, or one that is not finite.
    """
    ordered = np.sort(_finite(values).ravel())
    n = len(ordered)
    steps = np.arange(n + 1) / n
    distance = max(float((steps[1:] - ordered).max()), float((ordered - steps[:-1]).max()))
    return float(stats.kstwo.sf(distance, n))


def variance_p_value(normals: Floats, lost: int = 0) -> float:
    """Return the two-sided chi-square p-value of independent standard normals: too little noise, or too much.

    lost: dimensions that were projected out of the values.

    Raises:
        AuditInvalid: there is no value, or one that is not finite, or no dimension is left.
    """
    if lost and lost >= normals.size:
        raise AuditInvalid(f"{normals.size} values without {lost} dimensions leave nothing to test")
    squares = float((_finite(normals) ** 2).sum())
    law = stats.chi2(normals.size - lost)
    return _two_sided(float(law.cdf(squares)), float(law.sf(squares)))


def repetition_p_value(normals: Floats) -> float:
    """Return the two-sided p-value of independence between the rows of a table of standard normals (rows, entries).

    Rows are visits, entries what each of them releases. Under independence n sum_j (mean of column j)^2 times the
    number of rows, over the mean square within columns, has the F distribution with (n, n (rows - 1)) degrees of
    freedom (one-way analysis of variance, Fisher 1925, of columns whose expectation is known to be 0). Noise or coins
    that come again in any two rows raise it; noise that one row takes back from another lowers it. It does not
    depend on the size of the values, so a variance that is wrong is another test's.

    Raises:
        AuditInvalid: fewer than two rows, no entry, or one that is not finite.
    """
    if normals.ndim != 2 or len(normals) < 2:
        raise AuditInvalid(f"values of shape {normals.shape} are not two visits or more; give (visits, entries)")
    rows, entries = _finite(normals).shape
    between = rows * float((normals.mean(axis=0) ** 2).sum())
    within = float((normals**2).sum()) - between
    if within <= 0.0:
        return 0.0
    ratio = between * (rows - 1) / within
    law = stats.f(entries, entries * (rows - 1))
    return _two_sided(float(law.cdf(ratio)), float(law.sf(ratio)))


def _two_sided(below: float, above: float) -> float:
    return min(1.0, 2.0 * min(below, above))


def _finite(values: Floats) -> Floats:
    if not values.size or not np.isfinite(values).all():
        raise AuditInvalid(f"{values.size} values, of which {int((~np.isfinite(values)).sum())} are not finite")
    return values
