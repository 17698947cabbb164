"""Verdicts, one for each question: found, not found, or could not have been found with this many examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attacks.games.attack import Candidates
from attacks.games.play import Outcome
from attacks.games.simultaneous import discoveries
from attacks.own.settings import Leak
from attacks.own.updates import UpdateAttack
from evaluation.power import POWER, auc_power, examples_for_auc, examples_for_tpr, smallest_auc, smallest_tpr
from evaluation.roc import TprAtFpr

Verdict = Literal["found", "not found", "could not have been found", "void"]
LEVEL = 0.05
"""Of the verdicts on AUCs, over all attacks of an audit together (Holm)."""

_STRONGEST = (
    "score of your own", "RMIA", "BaVarIA-n, all checkpoints", "BaVarIA-n with the change since the task closed",
    "BaVarIA-n", "difference of checkpoints", "difference since the task closed", "loss, per class",
)  # fmt: skip
"""Attacks whose rates at few false alarms are judged, the first one that was played: fixed before anything is seen."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Independent units behind a question: clusters where examples share them, otherwise examples."""

    members: int
    nonmembers: int


def sizes_of(candidates: Candidates, truth: NDArray[np.bool_]) -> Sizes:
    """The numbers of clusters that hold members and non-members."""
    return Sizes(
        members=len(np.unique(candidates.cluster[truth])), nonmembers=len(np.unique(candidates.cluster[~truth]))
    )


@dataclass(frozen=True, kw_only=True)
class RateAnswer:
    """Members found at one rate of false alarms, told from no knowledge or not.

    Attributes:
        fpr: the rate.
        value, low, high: members found, with interval; None where `reason` says why not.
        p_value: exact p-value of "no knowledge finds as many"; None with clusters, where the interval decides.
        verdict: see `Verdict`.
        smallest: smallest rate that would have been told from `fpr` with chance 0.95; None if none would.
        more: members and non-members that lack for telling `Leak.ratio` times `fpr`; None if nothing is enough.
    """

    fpr: float
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    reason: str | None
    verdict: Verdict
    smallest: float | None
    more: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question with its verdict.

    Attributes:
        question: what was asked, in words.
        verdict: see `Verdict`.
        said: the verdict in one sentence, with its figures.
        attack: the attack that the figures are of.
        figures: them, by name.
        rates: of `attack_at_rates`, where the question is about members.
        attack_at_rates: the attack whose rates are judged.
        view: what the adversary had.
    """

    question: str
    verdict: Verdict
    said: str
    attack: str = ""
    figures: dict[str, float | int | None]
    rates: tuple[RateAnswer, ...] = ()
    attack_at_rates: str = ""
    view: str = ""


def membership_answers(
    outcomes: Sequence[Outcome], sizes: dict[str, Sizes], leak: Leak, questions: dict[str, str]
) -> tuple[Answer, ...]:
    """One answer for every game and view that was played.

    Args:
        outcomes: of all games; controls are left out.
        sizes: by the name of the game.
        leak: the smallest one that matters.
        questions: words for (game, view), by "game|view".
    """
    played = [outcome for outcome in outcomes if outcome.terms.control is None]
    adjusted = {(d.game, d.attack, d.target): d.adjusted for d in discoveries(played)}
    tests, answers = max(len(adjusted), 1), []
    for key in dict.fromkeys((o.game, o.view, o.terms.target) for o in played):
        own = [o for o in played if (o.game, o.view, o.terms.target) == key]
        answers.append(
            _answer(
                own, adjusted, sizes.get(key[0]) or _counted(own[0]), leak, questions.get(f"{key[0]}|{key[1]}"), tests
            )
        )
    return tuple(answers)


def _counted(outcome: Outcome) -> Sizes:
    return Sizes(members=outcome.n_members, nonmembers=outcome.n_nonmembers)


def _answer(
    own: Sequence[Outcome],
    adjusted: dict[tuple[str, str, str], float],
    size: Sizes,
    leak: Leak,
    question: str | None,
    tests: int,
) -> Answer:
    chances = [adjusted.get((o.game, o.attack, o.terms.target), 1.0) for o in own]
    best, chance = own[int(np.argmin(chances))], min(chances)
    # Holm's first step is Bonferroni's level: a leak that passes there is found whatever else was tried.
    level = LEVEL / tests
    smallest = smallest_auc(size.members, size.nonmembers, level=level)
    enough = auc_power(leak.auc, size.members, size.nonmembers, level=level) >= POWER
    needed = examples_for_auc(leak.auc, size.members, size.nonmembers, level=level)
    verdict: Verdict = "found" if chance <= LEVEL else "not found" if enough else "could not have been found"
    if best.void:
        verdict = "void"
    judged = next((o for name in _STRONGEST for o in own if o.attack == name), own[0])
    return Answer(
        question=question or f"{best.game}, {best.view}",
        verdict=verdict,
        said=_sentence(verdict, best, chance, smallest, needed, size, leak),
        attack=best.attack,
        figures={
            "auc": best.auc.value, "auc_low": best.auc.low, "auc_high": best.auc.high, "adjusted_p": chance,
            "smallest_auc": smallest, "members": size.members, "nonmembers": size.nonmembers, "attacks": len(own),
            "needed_members": needed[0] if needed else None, "needed_nonmembers": needed[1] if needed else None,
            "blind_auc": best.blind.value, "blind_low": best.blind.low, "blind_high": best.blind.high,
        },
        rates=tuple(_rate(one, size, leak, best.void) for one in judged.tpr),
        attack_at_rates=judged.attack,
        view=best.view,
    )  # fmt: skip


def _sentence(
    verdict: Verdict,
    best: Outcome,
    chance: float,
    smallest: float | None,
    needed: tuple[int, int] | None,
    size: Sizes,
    leak: Leak,
) -> str:
    counts = f"{size.members} members and {size.nonmembers} non-members"
    match verdict:
        case "void":
            return (
                f"members and non-members differ by themselves: a guess that saw no model reaches an AUC of "
                f"{best.blind.value:.2f} ({best.blind.low:.2f} to {best.blind.high:.2f})"
            )
        case "found":
            return (
                f"{best.attack}: AUC {best.auc.value:.3f} ({best.auc.low:.3f} to {best.auc.high:.3f}), "
                f"p = {chance:.2g}, corrected for all attacks tried"
            )
        case "not found":
            return f"a leak of AUC {smallest:.3f} would have been found among {counts} with a chance of {POWER:.0%}"
        case _:
            least = "no leak at all" if smallest is None else f"no leak below AUC {smallest:.3f}"
            more = "" if needed is None else f"; AUC {leak.auc:g} takes about {needed[0]} and {needed[1]}"
            return f"{counts} would have shown {least} with a chance of {POWER:.0%}{more}"


def _rate(one: TprAtFpr, size: Sizes, leak: Leak, void: bool) -> RateAnswer:
    tail, wanted = (1 - one.confidence) / 2, min(1.0, leak.ratio * one.fpr)
    smallest = smallest_tpr(one.fpr, size.members, size.nonmembers, confidence=one.confidence)
    needed = examples_for_tpr(wanted, one.fpr, size.members, size.nonmembers, confidence=one.confidence)
    told = one.p_value <= tail if one.p_value is not None else one.low is not None and one.low > one.fpr
    enough = smallest is not None and smallest <= wanted
    verdict: Verdict = "found" if told else "not found" if enough else "could not have been found"
    return RateAnswer(
        fpr=one.fpr,
        value=one.value,
        low=one.low,
        high=one.high,
        p_value=one.p_value,
        reason=one.reason,
        verdict="void" if void else verdict,
        smallest=smallest,
        more=None if needed is None else (needed[0] - size.members, needed[1] - size.nonmembers),
    )


def epsilon_answer(outcomes: Sequence[Outcome], what: str) -> Answer | None:
    """Does one training run show a larger epsilon than is claimed? None where no coins were declared.

    The best of all attacks' bounds, each at a confidence that pays for their number (Bonferroni).
    """
    played = [o for o in outcomes if o.terms.control is None and o.guesses is not None and not o.void]
    if not played:
        return None
    terms = played[0].terms
    level = 1.0 - (1.0 - terms.confidence) / len(played)
    bounds = [o.guesses.bound(terms.delta, level) for o in played if o.guesses is not None]
    shown, ceiling = max(b.value for b in bounds), max(b.ceiling for b in bounds)
    best = played[int(np.argmax([b.value for b in bounds]))]
    claimed = terms.ledger_epsilon
    line = claimed if claimed is not None else 0.0
    verdict: Verdict = "found" if shown > line else "not found" if ceiling > line else "could not have been found"
    below, most = math.floor(shown * 100) / 100, math.floor(ceiling * 100) / 100
    against = "" if claimed is None else f", where {claimed:g} is claimed"
    said = f"epsilon is at least {below:.2f} at delta {terms.delta:g}{against}; so many coins show at most {most:.2f}"
    return Answer(
        question=f"does one training run show a larger epsilon than {'is claimed' if claimed is not None else '0'} "
        f"({what})?",
        verdict=verdict,
        said=said + ("" if shown > 0 else "; a bound of 0 is no evidence of privacy"),
        attack=best.attack,
        figures={
            "epsilon_lower": shown, "ceiling": ceiling, "claimed_epsilon": claimed, "delta": terms.delta,
            "confidence": terms.confidence, "coins": played[0].guesses.candidates if played[0].guesses else None,
            "attacks": len(played),
        },
    )  # fmt: skip


_WIDE = 0.2
"""Gains over a blind guess that matter: an interval as wide on either side could not have told one."""


def update_answers(found: Sequence[UpdateAttack]) -> tuple[Answer, ...]:
    """One answer for each attack on saved updates."""
    questions = {
        "labels": "do saved updates tell the labels behind them?",
        "reconstruction": "can the examples behind saved updates be rebuilt?",
    }
    answers = []
    for one in found:
        half = (one.gain.high - one.gain.low) / 2
        enough = one.gain.determined and half <= _WIDE
        told = one.gain.determined and one.gain.low > 0.0
        verdict: Verdict = "found" if told else "not found" if enough else "could not have been found"
        what = "labels right" if one.question == "labels" else "correlation with the example"
        interval = f" (gain {one.gain.low:.2f} to {one.gain.high:.2f})" if one.gain.determined else ""
        said = f"{what}: {one.value:.2f}, a blind guess {one.blind:.2f}{interval}, over {one.n} updates"
        if verdict == "could not have been found":
            said += "; more updates are needed to tell a gain of 0.2"
        answers.append(
            Answer(
                question=questions[one.question],
                verdict=verdict,
                said=said,
                attack="last layer's gradient" if one.question == "labels" else "gradient inversion",
                figures={
                    "value": one.value,
                    "blind": one.blind,
                    "gain_low": one.gain.low,
                    "gain_high": one.gain.high,
                    "updates": one.n,
                },
            )
        )
    return tuple(answers)
