"""How scores are judged against coins: AUC, true positive rates, a bound on epsilon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attacks.errors import CoinsContradicted, GameInvalid
from attacks.games.attack import FloatArray
from evaluation.evidence import LowerBound, Score
from evaluation.intervals import cluster_bootstrap, delong_auc
from evaluation.roc import TprAtFpr, auc, epsilon_lower_bound_one_run, tpr_at_fpr

BoolArray = NDArray[np.bool_]

# Shares of the candidates on which the adversary guesses; fixed beforehand, so a union bound pays for them.
_GUESS_SHARES = (0.05, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class Coin:
    """How the truth came about: an independent coin per candidate with a public rate.

    Attributes:
        rate: probability that b = 1, in (0, 1).
        per_cluster: one coin for a whole block. A bound on epsilon is then about adding a whole block, and
            the ledger's epsilon to compare with is that of the block (group privacy), not of one example.
    """

    rate: float = 0.5
    per_cluster: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < 1.0:
            raise GameInvalid(f"the coin's rate is {self.rate}; it must lie strictly between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a game is judged.

    Attributes:
        target: what was attacked, for the report ("task 2 of replay").
        seed: public seed (at least 0) of halves, bootstrap, thinning and blind baseline.
        coin: how truths came about; None (unknown, or no independent coins) gives no bound on epsilon.
        delta: of the bound on epsilon, in [0, 1).
        ledger_epsilon: the accountant's epsilon for what the game varies, None without a guarantee.
        fprs: false positive rates at which the true positive rate is reported, where the sample allows.
        confidence: level of all intervals and bounds, in (0, 1).
        repeats: bootstrap draws, at least 100.
        control: marks a control game in the report, or one that was played without the noise to show what it hides.
        guess: "both" ways, or "members" only: what an adversary does to whom a low score says little (a canary that no
            batch drew looks like one that was not there).
    """

    target: str
    seed: int = 0
    coin: Coin | None = None
    delta: float = 1e-5
    ledger_epsilon: float | None = None
    fprs: tuple[float, ...] = (0.1, 0.01, 0.001)
    confidence: float = 0.95
    repeats: int = 400
    control: Literal["positive", "negative", "without noise"] | None = None
    guess: Literal["both", "members"] = "both"


class Stream(IntEnum):
    """Purposes of the public seed."""

    BLIND = 1
    HALVES = 2
    BOOTSTRAP = 3
    THINNING = 4


def stream_seed(terms: Terms, stream: Stream) -> int:
    """An integer seed for one purpose, independent of the terms' own seed."""
    # A challenger may well have flipped its coins from the same seed: judging must not reuse those numbers.
    return int(np.random.SeedSequence([terms.seed, stream]).generate_state(1)[0])


def auc_score(scores: FloatArray, truth: BoolArray, clusters: NDArray[Any], terms: Terms) -> Score:
    """AUC with an interval: bootstrap over clusters where candidates share them, DeLong where none do.

    An AUC of exactly 0 or 1 has no bootstrap spread: its interval is DeLong's (exact there) for one
    candidate per cluster and truth.
    """
    labels = np.unique(clusters)
    if len(labels) == len(clusters) or len(labels) < 2:
        return delong_auc(scores, truth, terms.confidence)
    value = auc(scores, truth)
    if value in (0.0, 1.0):
        _, first = np.unique(np.stack([clusters, truth]), axis=1, return_index=True)
        return delong_auc(scores[first], truth[first], terms.confidence)

    def statistic(rows: NDArray[np.intp]) -> float:
        drawn = truth[rows]
        return math.nan if drawn.all() or not drawn.any() else auc(scores[rows], drawn)

    return cluster_bootstrap(
        statistic,
        clusters,
        stream_seed(terms, Stream.BOOTSTRAP),
        repeats=terms.repeats,
        confidence=terms.confidence,
    )


def true_positive_rates(
    scores: FloatArray, truth: BoolArray, clusters: NDArray[Any], terms: Terms
) -> tuple[TprAtFpr, ...]:
    """True positive rate at each of the terms' false positive rates, or the reason why n is too small."""
    blocks = clusters if 2 <= len(np.unique(clusters)) < len(clusters) else None
    seed = stream_seed(terms, Stream.HALVES)
    return tuple(
        tpr_at_fpr(scores, truth, fpr, confidence=terms.confidence, seed=seed, clusters=blocks) for fpr in terms.fprs
    )


def _check_rate(truth: BoolArray, rate: float) -> None:
    # A bound computed for the wrong coins is no bound. At a million to one this refuses no honest game.
    if stats.binomtest(int(truth.sum()), len(truth), rate).pvalue < 1e-6:
        raise CoinsContradicted(
            f"{int(truth.sum())} of {len(truth)} truths are true, which a coin of rate {rate} does not give; "
            "declare the rate that was used, and do not pick candidates by their truth"
        )


@dataclass(frozen=True)
class GuessCounts:
    """What one training run's guesses came to: all that a bound on epsilon needs, at any confidence.

    Attributes:
        candidates: number of fair coins.
        guessed: guesses made, for each of the numbers of guesses fixed beforehand.
        correct: how many of them were right.
    """

    candidates: int
    guessed: tuple[int, ...]
    correct: tuple[int, ...]

    def bound(self, delta: float, confidence: float) -> LowerBound:
        """Bound on epsilon (Steinke et al. 2023), the best of the numbers of guesses; a union bound pays for them."""
        level = 1.0 - (1.0 - confidence) / len(self.guessed)
        bounds = [
            epsilon_lower_bound_one_run(right, made, candidates=self.candidates, delta=delta, confidence=level)
            for right, made in zip(self.correct, self.guessed, strict=True)
        ]
        return LowerBound(
            value=max(bound.value for bound in bounds),
            ceiling=max(bound.ceiling for bound in bounds),
            confidence=confidence,
            delta=delta,
            method="one training run, best of four numbers of guesses, union bound",
        )


def guess_counts(scores: FloatArray, truth: BoolArray, clusters: NDArray[np.int64], terms: Terms) -> GuessCounts | None:
    """Guesses on the most extreme scores, half of them each way or all on the highest; None without declared coins.

    The theorems need fair coins. With another public rate, candidates of the likelier truth are dropped by further
    independent coins until the remaining ones are fair; the adversary's scores stay what they were.

    Raises:
        CoinsContradicted: the truth cannot have come from the declared coins.
    """
    if terms.coin is None:
        return None
    if terms.coin.per_cluster:
        _, inverse = np.unique(clusters, return_inverse=True)
        size = np.bincount(inverse)
        scores = np.bincount(inverse, weights=scores) / size
        share = np.bincount(inverse, weights=truth) / size
        if not np.isin(share, (0.0, 1.0)).all():
            raise CoinsContradicted(
                "one coin per cluster was declared, but a cluster holds both truths; correct the terms"
            )
        truth = share == 1.0
    _check_rate(truth, terms.coin.rate)
    rate, random = terms.coin.rate, np.random.default_rng(stream_seed(terms, Stream.THINNING))
    thin = np.where(truth, min(1.0, (1 - rate) / rate), min(1.0, rate / (1 - rate)))
    kept = random.random(len(truth)) < thin
    scores, truth = scores[kept], truth[kept]
    order = np.lexsort((random.random(len(scores)), scores))
    halves = [int(share * len(order)) // 2 for share in _GUESS_SHARES]
    if terms.guess == "members":
        found = [int(truth[order[len(order) - each :]].sum()) for each in halves]
        return GuessCounts(len(order), tuple(halves), tuple(found))
    correct = [int(truth[order[len(order) - each :]].sum() + (~truth[order[:each]]).sum()) for each in halves]
    return GuessCounts(len(order), tuple(2 * each for each in halves), tuple(correct))


def epsilon_lower(scores: FloatArray, truth: BoolArray, clusters: NDArray[np.int64], terms: Terms) -> LowerBound | None:
    """Bound on epsilon from one training run (`guess_counts`, `GuessCounts.bound`), None without declared coins.

    Raises:
        CoinsContradicted: the truth cannot have come from the declared coins.
    """
    counts = guess_counts(scores, truth, clusters, terms)
    return None if counts is None else counts.bound(terms.delta, terms.confidence)
