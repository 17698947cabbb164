"""One-run audits of a continual learner: a bound per task, and one for the memory, from a single training run (G-DP1).

m canaries with independent coins per task, and further coins for retention; one run; for each task the bound on epsilon
that the scores prove, next to what the ledger charged that task's cohort. The audit passes if no bound exceeds its
charge at simultaneous confidence .999 (`simultaneous.require_consistent`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from attacks.errors import TooFew
from attacks.games.attack import Attack, Candidates, run_attack
from attacks.games.judging import BoolArray, Terms, has_spread
from attacks.games.play import MEMBERSHIP, RETAINED, Game, Outcome, judge
from attacks.games.views import View
from evaluation.tasks import task_name


def audit_tasks(
    attack: Attack,
    view: View,
    candidates: Candidates,
    trained: BoolArray,
    terms: Terms,
    ledger: Mapping[int, float | None],
) -> tuple[Outcome, ...]:
    """Membership, judged task by task, each against its own cohort's epsilon.

    Args:
        attack: scores all candidates at once, so that it may compare them.
        view: of the one run.
        candidates: canaries or ordinary examples of several tasks.
        trained: bool (n,), the coins.
        terms: their target, seed, coin, delta and confidence hold for every task.
        ledger: epsilon charged by task; None where nothing is guaranteed. A missing task counts as None.

    Returns:
        One outcome per task; tasks with one-sided truths are left out.

    Raises:
        CapabilityMissing, ScoresInvalid: see `run_attack`.
        GameInvalid: nothing can be judged.
    """
    return _by_task(MEMBERSHIP, attack, view, candidates, trained, terms, ledger)


def audit_retained(
    attack: Attack,
    view: View,
    candidates: Candidates,
    coins: tuple[BoolArray, BoolArray],
    terms: Terms,
    ledger: Mapping[int, float | None],
) -> tuple[Outcome, ...]:
    """Retained or merely seen, judged task by task against the charge of the memory steps alone.

    Args:
        attack: scores the trained candidates.
        view: of the one run.
        candidates: of several tasks.
        coins: (trained, kept), bool (n,) each. Those not trained on are left out.
        terms: with the memory's own coin: its rate is the retention rate. A memory of fixed size has no independent
            coins (`coin=None`): then compare AUCs, or use the swap bound.
        ledger: epsilon of the steps that sampled from the memory, by task of arrival.

    Raises:
        CapabilityMissing, ScoresInvalid, GameInvalid: as `audit_tasks`.
    """
    trained, kept = coins
    own = np.flatnonzero(trained)
    return _by_task(RETAINED, attack, view, candidates.take(own), kept[own], terms, ledger)


def _by_task(
    game: Game,
    attack: Attack,
    view: View,
    candidates: Candidates,
    truth: BoolArray,
    terms: Terms,
    ledger: Mapping[int, float | None],
) -> tuple[Outcome, ...]:
    scores = run_attack(attack, view, candidates)
    outcomes = []
    for task in np.unique(candidates.task):
        chosen = np.flatnonzero(candidates.task == task)
        coins = truth[chosen]
        if not has_spread(coins, candidates.cluster[chosen]):
            continue
        number, name = int(task), task_name(int(task))
        own = replace(terms, target=f"{terms.target}, {name}", task=number, ledger_epsilon=ledger.get(number))
        names = (attack.name, view.threat.name)
        outcomes.append(judge(game, names, scores[chosen], candidates.take(chosen), coins, own))
    if not outcomes:
        raise TooFew("every task's truths are one-sided or of one cluster; flip independent coins before training")
    return tuple(outcomes)
