"""Does a score rank positives above negatives by more than chance? A p-value that is exact where counts are small."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from evaluation.errors import SampleError
from evaluation.intervals import Floats, midranks, split_by_truth

SMALL = 50
"""With fewer units than this on either side the normal approximation is not used."""


def rank_p_value(
    scores: ArrayLike,
    truth: ArrayLike,
    *,
    seed: int,
    clusters: ArrayLike | None = None,
    repeats: int = 9999,
) -> float:
    """One-sided p-value of "the scores say nothing about the truth" against "positives score higher".

    The truths are permuted over the units: over clusters, with the mean of their scores, if truth is constant in each
    of them (one coin a cluster), otherwise over the candidates. With fewer than 50 units of either kind the p-value is
    exact where no scores tie (Mann and Whitney 1947), and of `repeats` random permutations, the measured one among
    them, where some do (Phipson and Smyth 2010). Otherwise it is normal, with the variance under permutation.

    Args:
        scores: shape (n,), higher means "positive".
        truth: shape (n,), boolean or 0 and 1.
        seed: public seed of the permutations.
        clusters: shape (n,); None: every candidate has a coin of its own.
        repeats: random permutations, at least 100; the smallest p-value is 1 / (`repeats` + 1).

    *Guarantee*: for independent coins of one rate (or any truth that was permuted at random) small p-values are as
    rare as they say, whatever the scores' dependence, below 50 units; asymptotic above.

    Raises:
        SampleError: NaN scores, unequal shapes, an empty group, or fewer than 100 repeats.
    """
    return rank_p_values(scores, truth, seed=seed, clusters=clusters, repeats=repeats)[0]


def rank_p_values(
    scores: ArrayLike,
    truth: ArrayLike,
    *,
    seed: int,
    clusters: ArrayLike | None = None,
    repeats: int = 9999,
) -> tuple[float, float]:
    """The p-value of `rank_p_value`, and a two-sided one: twice the smaller for the scores and for their negatives.

    An AUC far below 0.5 tells members as well as one far above it, to whom reads the score the other way round. Both
    come from one ranking and the same permutations.

    *Guarantee*: of each as of `rank_p_value`; doubling pays for the second look. Arguments as there; at most 1.

    Raises:
        SampleError: as `rank_p_value`.
    """
    if repeats < 100:
        raise SampleError(f"repeats={repeats}: a p-value by permutation needs 100 at least")
    split_by_truth(scores, truth)
    values, members = _per_unit(np.asarray(scores, dtype=np.float64), np.asarray(truth).astype(bool), clusters)
    ranks = midranks(values)
    m, total = int(members.sum()), members.size
    measured = float(ranks[members].sum())
    tied = np.unique(values).size < total
    if min(m, total - m) >= SMALL:
        up, down = _normal(measured, ranks, m, tied)
    elif not tied:
        wins = round(measured) - m * (m + 1) // 2
        up, down = _exact(wins, m, total - m), _exact(m * (total - m) - wins, m, total - m)
    else:
        random = np.random.default_rng(seed)
        sums = np.array([float(ranks[random.permutation(total)[:m]].sum()) for _ in range(repeats)])
        up, down = (
            float((1 + beyond.sum()) / (1 + repeats)) for beyond in (sums >= measured - 1e-9, sums <= measured + 1e-9)
        )
    return up, min(1.0, 2.0 * min(up, down))


def _normal(measured: float, ranks: Floats, m: int, tied: bool) -> tuple[float, float]:
    """Chances of so large and of so small a sum of m ranks, with its variance under permutation."""
    total = ranks.size
    variance = m * (total - m) / total * float(ranks.var(ddof=1))
    if variance == 0.0:
        # Without any spread there is nothing to tell.
        return 1.0, 1.0
    # Half a step towards the mean is the continuity correction.
    step, above = 0.25 if tied else 0.5, measured - ranks.mean() * m
    return float(special.ndtr((step - above) / variance**0.5)), float(special.ndtr((step + above) / variance**0.5))


def _per_unit(
    values: Floats, members: NDArray[np.bool_], clusters: ArrayLike | None
) -> tuple[Floats, NDArray[np.bool_]]:
    if clusters is None:
        return values, members
    unit = np.unique(np.asarray(clusters), return_inverse=True)[1]
    size = np.bincount(unit)
    share = np.bincount(unit, weights=members) / size
    if not np.isin(share, (0.0, 1.0)).all():
        return values, members
    # Ranks rather than scores, so that the answer does not depend on the scores' scale.
    mean: Floats = np.bincount(unit, weights=midranks(values)) / size
    return mean, share == 1.0


def _exact(wins: int, m: int, n: int) -> float:
    """Chance of at least so many of the m n pairs in order: by Gauss' binomial, whose coefficients count arrangements.

    By symmetry the chance of at most m n - wins. Coefficients up to there are built factor by factor,
    (1 - q^(n + i)) / (1 - q^i), each a shift and a running sum that keep small coefficients exact.
    """
    few, many, last = min(m, n), max(m, n), m * n - wins
    flipped = last > m * n // 2
    if flipped:
        last = wins - 1
    if last < 0:
        return 1.0 if flipped else 0.0
    counts: Floats = np.zeros(last + 1)
    counts[0] = 1.0
    for i in range(1, few + 1):
        if many + i <= last:
            counts[many + i :] = counts[many + i :] - counts[: last + 1 - many - i]
        padded = np.concatenate([counts, np.zeros(-len(counts) % i)]).reshape(-1, i)
        counts = padded.cumsum(axis=0).reshape(-1)[: last + 1]
        # Chances instead of counts: divided by (many + i) / i at every factor, which is the number of arrangements.
        counts = counts * (i / (many + i))
    tail = min(max(float(counts.sum()), 0.0), 1.0)
    return 1.0 - tail if flipped else tail
