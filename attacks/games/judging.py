"""How scores are judged against coins: AUC, true positive rates, a bound on epsilon."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attacks.errors import CoinsContradicted, GameInvalid, TooFew
from attacks.games.attack import FloatArray
from evaluation.errors import TooFewSamples
from evaluation.evidence import LowerBound, Score
from evaluation.intervals import delong_auc
from evaluation.rank_test import rank_p_values
from evaluation.roc import TprAtFpr, epsilon_lower_bound_one_run, tpr_at_fpr

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
        seed: public seed (at least 0) of halves, permutations, thinning and blind baseline.
        coin: how truths came about; None (unknown, or no independent coins) gives no bound on epsilon.
        delta: of the bound on epsilon, in [0, 1).
        ledger_epsilon: the accountant's epsilon for what the game varies, None without a guarantee.
        fprs: false positive rates at which the true positive rate is reported, where the sample allows.
        confidence: level of all intervals and bounds, in (0, 1).
        repeats: permutations behind a p-value where scores tie and few have either truth, at least 100.
        control: marks a control game in the report, or one that was played without the noise to show what it hides.
        about: what was attacked: the "run" itself, "staged" rounds played anew, or "canaries", made to be found.
        task: the task that the game is about, from 0; None if about several or none.
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
    repeats: int = 9999
    control: Literal["positive", "negative", "without noise"] | None = None
    about: Literal["run", "staged", "canaries"] = "run"
    task: int | None = None
    guess: Literal["both", "members"] = "both"


class Stream(IntEnum):
    """Purposes of the public seed."""

    BLIND = 1
    HALVES = 2
    PERMUTATIONS = 3
    THINNING = 4
    NEGATIVE_CONTROL = 5


def stream_seed(terms: Terms, stream: Stream) -> int:
    """An integer seed for one purpose, independent of the terms' own seed."""
    # A challenger may well have flipped its coins from the same seed: judging must not reuse those numbers.
    return int(np.random.SeedSequence([terms.seed, stream]).generate_state(1)[0])


def purpose_seed(seed: int, purpose: str) -> int:
    """An integer seed of 64 bits for one purpose.

    A challenger may well have flipped its coins from the same public seed, by `default_rng(seed)` or from a list that
    begins with it (numpy pads lists with zeros, so that `[seed, 0]` is `seed`). Nothing here may repeat those numbers:
    a negative control on the caller's own coins would find them. So the seed is hashed together with its purpose.
    """
    return int.from_bytes(hashlib.sha256(f"{purpose}|{seed}".encode()).digest()[:8], "little")


def auc_score(scores: FloatArray, truth: BoolArray, clusters: NDArray[Any], terms: Terms) -> Score:
    """AUC with an interval (`delong_auc`), among clusters where candidates share them.

    Raises:
        TooFew: the candidates of either truth are of fewer than two clusters.
    """
    try:
        return delong_auc(scores, truth, terms.confidence, _shared(clusters))
    except TooFewSamples as error:
        raise TooFew(f"{int(truth.sum())} of {len(truth)} truths are true: {error}") from error


def has_spread(truth: BoolArray, clusters: NDArray[Any]) -> bool:
    """Whether both truths are of two clusters at least: without that there is no interval."""
    return min(len(np.unique(clusters[truth])), len(np.unique(clusters[~truth]))) >= 2


def p_values(scores: FloatArray, truth: BoolArray, clusters: NDArray[Any], terms: Terms) -> tuple[float, float]:
    """P-values of "no better than chance", and of "no better and no worse" (`rank_p_values`).

    Truths are permuted as the coins fell.
    """
    seed = stream_seed(terms, Stream.PERMUTATIONS)
    return rank_p_values(scores, truth, seed=seed, clusters=_shared(clusters), repeats=terms.repeats)


def _shared(clusters: NDArray[Any]) -> NDArray[Any] | None:
    return clusters if len(np.unique(clusters)) < len(clusters) else None


def true_positive_rates(
    scores: FloatArray, truth: BoolArray, clusters: NDArray[Any], terms: Terms
) -> tuple[TprAtFpr, ...]:
    """True positive rate at each of the terms' false positive rates, or the reason why n is too small."""
    blocks, seed = _shared(clusters), stream_seed(terms, Stream.HALVES)
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


def _check_coins_apart(truth: BoolArray, clusters: NDArray[np.int64], rate: float) -> None:
    # One coin for all windows of a person, declared as one a window: a bound would count every window as evidence.
    unit = np.unique(clusters, return_inverse=True)[1]
    size, true = np.bincount(unit), np.bincount(unit, weights=truth)
    several = size > 1
    mixed = int(((true > 0) & (true < size))[several].sum())
    chances = 1.0 - rate ** size[several] - (1.0 - rate) ** size[several]
    if _at_most(mixed, chances) < 1e-6:
        raise GameInvalid(
            f"{int(several.sum()) - mixed} of {int(several.sum())} clusters of several candidates hold one truth each, "
            "which coins for each candidate do not give; declare one coin per cluster, Coin(per_cluster=True), and the "
            "ledger's epsilon of a whole cluster"
        )


def _at_most(count: int, chances: FloatArray) -> float:
    """Chance of at most so many successes in independent trials (Poisson binomial), by convolution up to `count`."""
    law = np.zeros(count + 1)
    law[0] = 1.0
    for chance in chances:
        law[1:] = law[1:] * (1 - chance) + law[:-1] * chance
        law[0] *= 1 - chance
    return float(law.sum())


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
    else:
        _check_coins_apart(truth, clusters, terms.coin.rate)
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
