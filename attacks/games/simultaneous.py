"""Many games at once: which leaks are there, and which bounds contradict the ledger, after correction for all tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from attacks.errors import GameInvalid, LedgerContradicted
from attacks.games.play import Outcome
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
    if not 0.0 < confidence < 1.0:
        raise GameInvalid(f"confidence={confidence} must lie strictly between 0 and 1")
    open_, found = [o for o in outcomes if _counts(o)], list[Contradiction]()
    while open_:
        level = 1.0 - (1.0 - confidence) / len(open_)
        left = []
        for outcome in open_:
            terms = outcome.terms
            shown = outcome.guesses.bound(terms.delta, level).value if outcome.guesses is not None else 0.0
            ledger = terms.ledger_epsilon if terms.ledger_epsilon is not None else math.inf
            if shown > ledger:
                found.append(
                    Contradiction(
                        game=outcome.game,
                        attack=outcome.attack,
                        target=terms.target,
                        bound=shown,
                        ledger_epsilon=ledger,
                        confidence=confidence,
                    )
                )
            else:
                left.append(outcome)
        if len(left) == len(open_):
            break
        open_ = left
    return tuple(found)


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
    """One game's test of AUC = .5 against more, before and after Holm."""

    game: str
    attack: str
    target: str
    auc: float
    p_value: float
    adjusted: float


def discoveries(outcomes: Sequence[Outcome]) -> tuple[Discovery, ...]:
    """Holm-adjusted p-values for "the attack does better than chance", over all outcomes but controls and void games.

    The p-value is the outcome's own (`judging.p_value`); outcomes without one are left out.
    """
    rows = [
        (outcome, outcome.p_value)
        for outcome in outcomes
        if outcome.terms.control is None and not outcome.void and outcome.p_value is not None
    ]
    adjusted = holm([value for _, value in rows])
    return tuple(
        Discovery(
            game=o.game, attack=o.attack, target=o.terms.target, auc=o.auc.value, p_value=value, adjusted=float(after)
        )
        for (o, value), after in zip(rows, adjusted, strict=True)
    )
