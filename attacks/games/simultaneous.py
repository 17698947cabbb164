"""Many games at once: which leaks are there, and which bounds contradict the ledger, after correction for all tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attacks.errors import GameInvalid, LedgerContradicted
from attacks.games.play import Outcome
from evaluation.evidence import LowerBound
from evaluation.intervals import holm

LOUD = 0.999
"""Simultaneous confidence at which a bound above the ledger's epsilon fails an audit."""


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """A bound on epsilon above what the ledger charged: the accounting is wrong, or the run did not do what it says.

    Attributes:
        bound: the epsilon shown, at the simultaneous confidence of all games together.
    """

    game: str
    attack: str
    target: str
    bound: float
    ledger_epsilon: float
    confidence: float


def contradictions(outcomes: Sequence[Outcome], confidence: float = LOUD) -> tuple[Contradiction, ...]:
    """Outcomes whose bound exceeds the ledger's epsilon, corrected by Holm over all outcomes that could.

    An outcome counts if it has coins and a ledger epsilon; controls and void games do not count. Holm's step-down is
    carried out by raising the confidence of each bound, so no p-values are needed.

    At a given delta, p-values of Steinke's bound end near 2 delta / (1 - e^eps / (1 + e^eps)): at confidence .999 and
    delta 1e-5 about five games at once can still contradict. Ask ledger and audit at a smaller delta if there are more.

    *Guarantee*: if the ledger is right for every game, the chance of any contradiction is at most 1 - confidence.

    Raises:
        GameInvalid: confidence is outside (0, 1).
    """
    return tuple(
        Contradiction(
            game=outcome.game,
            attack=outcome.attack,
            target=outcome.terms.target,
            bound=bound,
            ledger_epsilon=_ledger(outcome),
            confidence=confidence,
        )
        for outcome, bound in _stepped_down(outcomes, confidence, lambda bound: bound.value)
    )


def could_contradict(outcomes: Sequence[Outcome], confidence: float = LOUD) -> tuple[bool, ...]:
    """Whether each outcome could have contradicted the ledger, had every attack guessed without a fault.

    The step-down of `contradictions` with the ceilings of all bounds in place of the bounds: a game for which this is
    False would have been silent about any ledger, however wrong, and says nothing for it.

    Raises:
        GameInvalid: confidence is outside (0, 1).
    """
    able = {id(outcome) for outcome, _ in _stepped_down(outcomes, confidence, lambda bound: bound.ceiling)}
    return tuple(id(outcome) in able for outcome in outcomes)


def why_silent(outcome: Outcome) -> str:
    """Why a game that could not have contradicted the ledger could not, in words."""
    if outcome.terms.control is not None:
        return f"a control ({outcome.terms.control})"
    if outcome.void:
        return "void"
    if outcome.terms.ledger_epsilon is None:
        return "the ledger states no epsilon for what the game varies"
    if outcome.guesses is None:
        return "no independent coins of a declared rate"
    return "even faultless guesses on so few coins show less than the ledger's epsilon"


def _stepped_down(
    outcomes: Sequence[Outcome], confidence: float, read: Callable[[LowerBound], float]
) -> list[tuple[Outcome, float]]:
    """Return the outcomes, in the order found, whose bound as read at Holm's level exceeds the ledger's epsilon."""
    if not 0.0 < confidence < 1.0:
        raise GameInvalid(f"confidence={confidence} must lie strictly between 0 and 1")
    open_, found = [o for o in outcomes if _counts(o)], list[tuple[Outcome, float]]()
    while open_:
        level = 1.0 - (1.0 - confidence) / len(open_)
        left = []
        for outcome in open_:
            shown = read(outcome.guesses.bound(outcome.terms.delta, level)) if outcome.guesses is not None else 0.0
            if shown > _ledger(outcome):
                found.append((outcome, shown))
            else:
                left.append(outcome)
        if len(left) == len(open_):
            break
        open_ = left
    return found


def _ledger(outcome: Outcome) -> float:
    return outcome.terms.ledger_epsilon if outcome.terms.ledger_epsilon is not None else math.inf


def _counts(outcome: Outcome) -> bool:
    usable = outcome.guesses is not None and outcome.terms.ledger_epsilon is not None
    return usable and outcome.terms.control is None and not outcome.void


def require_consistent(outcomes: Sequence[Outcome], confidence: float = LOUD) -> None:
    """Passes if no bound contradicts the ledger.

    Raises:
        LedgerContradicted: one does; the message names game, bound and ledger.
    """
    found = contradictions(outcomes, confidence)
    if found:
        worst = max(found, key=lambda c: c.bound - c.ledger_epsilon)
        raise LedgerContradicted(
            f"{len(found)} of {len(outcomes)} games contradict the ledger at simultaneous confidence {confidence}; the "
            f"worst: {worst.game}, {worst.attack}, {worst.target} shows epsilon {worst.bound:.3f} where "
            f"{worst.ledger_epsilon:.3f} was charged; look for noise that is missing or too small, charges left out, "
            "or uploads that someone saw in the clear"
        )


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """One game's test of AUC = .5 against more, before and after Holm, and against either side after Holm."""

    game: str
    attack: str
    target: str
    auc: float
    p_value: float
    adjusted: float
    either_way: float | None = None


def discoveries(outcomes: Sequence[Outcome]) -> tuple[Discovery, ...]:
    """Holm-adjusted p-values for "the attack does better than chance", over all outcomes but controls and void games.

    The p-value is the outcome's own (`judging.p_values`); outcomes without one are left out. `either_way` adjusts the
    two-sided ones of the same among themselves; an outcome without one takes part with twice its
    one-sided one.
    """
    rows = [
        (outcome, outcome.p_value)
        for outcome in outcomes
        if outcome.terms.control is None and not outcome.void and outcome.p_value is not None
    ]
    adjusted = holm([value for _, value in rows])
    both = holm([min(1.0, 2.0 * value) if o.p_either_way is None else o.p_either_way for o, value in rows])
    return tuple(
        Discovery(
            game=o.game,
            attack=o.attack,
            target=o.terms.target,
            auc=o.auc.value,
            p_value=value,
            adjusted=float(after),
            either_way=float(either),
        )
        for (o, value), after, either in zip(rows, adjusted, both, strict=True)
    )
