"""How near reconstructions come in decibels, beside a blind guess, and whether they name the example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.errors import InversionInvalid
from evaluation.evidence import Interval, Score
from evaluation.intervals import clopper_pearson, mean_interval

CAP = 60.0
"""Decibels above which reconstructions are alike perfect; means would otherwise be those of a few exact ones."""


def psnr(found: NDArray[np.floating], truth: NDArray[np.floating], peak: float = 1.0) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of matching rows in decibels, (m,); exact rows give infinity.

    Args:
        found, truth: (m, ...), finite and of one shape.
        peak: largest minus smallest value a signal can take, positive.

    Raises:
        InversionInvalid: shapes differ, a value is not finite, or the peak is not positive.
    """
    if found.shape != truth.shape or found.ndim < 2 or not peak > 0:
        raise InversionInvalid(f"shapes {found.shape} and {truth.shape} must be alike, (m, ...), peak={peak} positive")
    error = ((np.asarray(found, dtype=np.float64) - truth) ** 2).reshape(len(found), -1).mean(axis=1)
    if not np.isfinite(error).all():
        raise InversionInvalid("a reconstruction is not finite; its attack must return numbers")
    with np.errstate(divide="ignore"):
        return np.asarray(20 * np.log10(peak) - 10 * np.log10(error))


def matched(found: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.int64]:
    """For each row of truth the row of found that is paired with it, (m,): the pairing of least total squared error.

    The order of examples inside a batch is unknown to the adversary (Hungarian method). `found` needs at least as many
    rows as `truth`.

    Raises:
        InversionInvalid: too few rows, or shapes that differ.
    """
    from scipy.optimize import linear_sum_assignment

    if len(found) < len(truth) or found.shape[1:] != truth.shape[1:]:
        raise InversionInvalid(f"{found.shape} cannot be matched with {truth.shape}: too few rows or other shapes")
    one, two = found.reshape(len(found), -1).astype(np.float64), truth.reshape(len(truth), -1).astype(np.float64)
    cost = (two**2).sum(axis=1)[:, None] + (one**2).sum(axis=1)[None, :] - 2 * two @ one.T
    return np.asarray(linear_sum_assignment(cost)[1], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Reconstruction quality over targets.

    Attributes:
        n: targets.
        median: of the PSNR in dB, not capped.
        blind: median PSNR of the blind guess.
        gain: mean of capped PSNR minus capped blind PSNR, paired, with a t interval.
        recovered: share of targets above 20 dB that also beat the blind guess by 6 dB, Clopper-Pearson.
        identified: share of reconstructions whose nearest example in a pool is the true one, Clopper-Pearson.
    """

    n: int
    median: float
    blind: float
    gain: Score
    recovered: tuple[float, Interval]
    identified: tuple[float, Interval]


def fidelity(
    found: NDArray[np.floating],
    truth: NDArray[np.floating],
    blind: NDArray[np.floating],
    pool: NDArray[np.floating],
    *,
    peak: float = 1.0,
    confidence: float = 0.95,
) -> Fidelity:
    """Judges reconstructions (m, ...) of `truth`, row by row.

    Args:
        found: reconstructions.
        truth: targets.
        blind: what is guessed without a gradient (class means, say).
        pool: (k, ...), other examples that a reconstruction could be mistaken for; without the targets.
        peak: of the signal.
        confidence: of all intervals.

    Raises:
        InversionInvalid: shapes that do not fit, or no targets.
    """
    if not len(truth) or pool.shape[1:] != truth.shape[1:]:
        raise InversionInvalid(f"{len(truth)} targets and a pool {pool.shape}: give targets, and a pool of their shape")
    own, guess = psnr(found, truth, peak), psnr(blind, truth, peak)
    gains = np.minimum(own, CAP) - np.minimum(guess, CAP)
    good = int(((own > 20) & (own - guess >= 6)).sum())
    flat, others = found.reshape(len(found), -1), pool.reshape(len(pool), -1)
    to_true = ((flat - truth.reshape(len(truth), -1)) ** 2).sum(axis=1)
    nearest = np.array([((row - others) ** 2).sum(axis=1).min(initial=np.inf) for row in flat])
    named, n = int((to_true < nearest).sum()), len(truth)
    return Fidelity(
        n=n,
        median=float(np.median(own)),
        blind=float(np.median(guess)),
        gain=mean_interval(gains.tolist(), confidence),
        recovered=(good / n, clopper_pearson(good, n, confidence)),
        identified=(named / n, clopper_pearson(named, n, confidence)),
    )
