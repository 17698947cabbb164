"""Games: a challenger flips coins, the adversary scores candidates, the outcome compares scores with coins.

Every game here follows one pattern. The challenger has a pool of examples and flips an independent coin
b(x) for each; the coins decide what the training run does with x. The adversary gets a view of the run and
the candidates, never a coin, and returns one score per candidate. The outcome is a set of statistics of the
scores against the coins, next to those of a blind baseline that saw the candidates but no view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attacks.errors import GameInvalid, TooFew
from attacks.games.attack import Attack, Candidates, FloatArray, contents, repeated, run_attack
from attacks.games.blind import blind_auc
from attacks.games.judging import (
    BoolArray,
    GuessCounts,
    Stream,
    Terms,
    auc_score,
    guess_counts,
    p_values,
    stream_seed,
    true_positive_rates,
)
from attacks.games.views import View
from evaluation.evidence import LowerBound, Score
from evaluation.roc import TprAtFpr, roc_curve


@dataclass(frozen=True)
class Game:
    """A question about a candidate, in words; the formal definition stands below each constant."""

    name: str
    question: str


MEMBERSHIP = Game("membership", "was this example trained on?")
"""Membership (Yeom et al. 2018, experiment 1; with checkpoints: Jagielski et al. 2023).

b(x) = 1: x is in the training data of its task. b(x) = 0: x is drawn from the same pool, and not trained
on. The view is revealed after training; the adversary guesses b. Members and non-members must come from one
pool by coin: the same tasks, classes, people and times. Otherwise the blind baseline finds the difference
and the outcome is void."""

RETAINED = Game("retained or merely seen", "does the replay memory still hold this example?")
"""Retained or merely seen (G-RET).

Every candidate was trained on in its own task. b(x) = 1: the memory kept x when the task closed, and later
tasks sampled it again. b(x) = 0: x was discarded. The coins are those of the memory itself, independent of
all examples. Adding or removing an example is not the neighbouring relation here: what tells the worlds
apart are the steps that sampled from the memory, so an epsilon to compare with is that of those steps
alone."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one attack achieved in one game: scores with intervals, a bound on epsilon with its ceiling.

    `roc` holds points (false positive rate, true positive rate) for a figure (`evaluation.roc.roc_curve`);
    `member_units` and `nonmember_units` are the numbers of clusters of either truth, what powers are computed from.
    """

    game: str
    attack: str
    view: str
    n_members: int
    n_nonmembers: int
    n_clusters: int
    member_units: int
    nonmember_units: int
    auc: Score
    blind: Score
    tpr: tuple[TprAtFpr, ...]
    epsilon_lower: LowerBound | None
    terms: Terms
    guesses: GuessCounts | None = None
    p_value: float | None = None
    p_either_way: float | None = None
    roc: tuple[tuple[float, float], ...] = ()

    @property
    def void(self) -> bool:
        """The blind baseline's interval leaves out 0.5: candidates differ by more than what the view shows.

        At 95 % this strikes one honest game in twenty.
        """
        return self.blind.interval.determined and 0.5 not in self.blind.interval

    @property
    def contradicts_ledger(self) -> bool:
        """The bound exceeds the ledger's epsilon: at the bound's confidence, the accounting is wrong."""
        ledger = self.terms.ledger_epsilon
        return self.epsilon_lower is not None and ledger is not None and self.epsilon_lower.value > ledger


def play(
    game: Game,
    attack: Attack,
    view: View,
    candidates: Candidates,
    truth: BoolArray,
    terms: Terms,
    blind: Score | None = None,
) -> Outcome:
    """Lets `attack` score the candidates and compares with the truth.

    Args:
        game: the question; its definition says how candidates and truth must have been made.
        attack: sees `view` and `candidates` only.
        view: what the threat model reveals.
        candidates: (n,).
        truth: bool (n,), the coins. Both values must occur.
        terms: how to judge.
        blind: the blind baseline's AUC on these candidates; None computes it (`blind_baseline`). Compute it
            once when several attacks face the same candidates.

    Raises:
        CapabilityMissing, ScoresInvalid: see `run_attack`.
        GameInvalid: truth does not match the candidates, is one-sided or has no spread, or the same example occurs
            more than once with coins of its own each time.
    """
    coins = checked_truth(candidates, truth)
    _check_distinct(candidates, coins)
    scores = run_attack(attack, view, candidates)
    return judge(game, (attack.name, view.threat.name), scores, candidates, coins, terms, blind)


def judge(
    game: Game,
    names: tuple[str, str],
    scores: FloatArray,
    candidates: Candidates,
    truth: BoolArray,
    terms: Terms,
    blind: Score | None = None,
) -> Outcome:
    """The outcome of scores that were computed elsewhere, (attack, view) named by `names`. Otherwise as `play`.

    Raises:
        GameInvalid: truth does not match the candidates, is one-sided, or has fewer than two clusters on a side.
    """
    coins = checked_truth(candidates, truth)
    counts = guess_counts(scores, coins, candidates.cluster, terms)
    one_sided, either_way = p_values(scores, coins, candidates.cluster, terms)
    return Outcome(
        game=game.name,
        attack=names[0],
        view=names[1],
        n_members=int(coins.sum()),
        n_nonmembers=int((~coins).sum()),
        n_clusters=len(np.unique(candidates.cluster)),
        member_units=len(np.unique(candidates.cluster[coins])),
        nonmember_units=len(np.unique(candidates.cluster[~coins])),
        auc=auc_score(scores, coins, candidates.cluster, terms),
        blind=blind or blind_baseline(candidates, coins, terms),
        tpr=true_positive_rates(scores, coins, candidates.cluster, terms),
        epsilon_lower=None if counts is None else counts.bound(terms.delta, terms.confidence),
        terms=terms,
        guesses=counts,
        p_value=one_sided,
        p_either_way=either_way,
        roc=roc_curve(scores, coins),
    )


def _check_distinct(candidates: Candidates, truth: BoolArray) -> None:
    # A model trained on an example knows it under every coin that was flipped for it. Copies of one cluster and one
    # truth are one question asked several times, which intervals over clusters allow for.
    twice = np.flatnonzero(repeated(candidates))
    if not len(twice):
        return
    places = dict[bytes, list[int]]()
    for place, key in zip(twice.tolist(), contents(candidates.take(twice)), strict=True):
        places.setdefault(key, []).append(place)
    for same in places.values():
        if len(np.unique(candidates.cluster[same])) > 1 or len(np.unique(truth[same])) > 1:
            raise GameInvalid(
                f"{len(twice)} of {len(candidates)} candidates occur more than once, such as {same[:3]} with "
                "coins of their own; leave repeated examples out (games.attack.repeated), or give each one cluster and "
                "one coin"
            )


def blind_baseline(candidates: Candidates, truth: BoolArray, terms: Terms) -> Score:
    """AUC of a classifier that sees the candidates and no view (`blind.blind_auc`), with its interval.

    Raises:
        GameInvalid: truth does not match the candidates or is one-sided.
    """
    coins = checked_truth(candidates, truth)
    return blind_auc(candidates, coins, seed=stream_seed(terms, Stream.BLIND), confidence=terms.confidence)


def checked_truth(candidates: Candidates, truth: BoolArray) -> BoolArray:
    """The truth as a boolean array that fits the candidates.

    Raises:
        GameInvalid: it does not.
        TooFew: it is one-sided.
    """
    coins = np.asarray(truth)
    if coins.dtype != np.bool_ or coins.shape != (len(candidates),):
        raise GameInvalid(
            f"truth has type {coins.dtype} and shape {coins.shape} for {len(candidates)} candidates; give one boolean "
            "per candidate"
        )
    if coins.all() or not coins.any():
        raise TooFew(
            f"truth holds {int(coins.sum())} true values for {len(candidates)} candidates; both values must be present"
        )
    return coins
