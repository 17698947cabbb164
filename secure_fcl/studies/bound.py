"""What a private choice among the cells of a grid costs, computed from their plans before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from privacy import RdpAccountant
from privacy.accountants import ORDERS
from privacy.cohorts import undominated
from privacy.renyi import total_failure
from privacy.selection import selected_epsilon
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.budgets import planned_budget
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.prepare import prepare
from secure_fcl.studies.choice import Choice
from secure_fcl.studies.grid import Cell
from secure_fcl.studies.totals import Spending, total


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What showing the best run of a hidden number of them costs any example, against who sees nothing else.

    Attributes:
        epsilon: at `delta`.
        delta: of the choice as a whole.
        accounting: the part of delta that the accountant had: less the expected number of runs times what one may lose
            to overflowing memories and noise beyond its field.
        cells: of the grid.
        openly: epsilon at the same delta of running every cell of the grid once and showing them all, to compare.
    """

    epsilon: float
    delta: float
    accounting: float
    cells: int
    openly: float

    def to_json(self) -> dict[str, Any]:
        """Return the bound as a JSON object."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "cells": self.cells,
            "epsilon_of_all_cells_shown": self.openly,
        }


def bound(cells: Sequence[Cell], choice: Choice, say: Callable[[str], None] = lambda text: None) -> Bound:
    """Return the bound of a choice; every cell is prepared for it, so that none fails for what is known beforehand.

    Of every cell all that its budget admits is charged, at every Renyi order by its worst cohort, with the score; of
    the grid, at every order, the worst cell: a run is a cell drawn whatever the data, so its divergence is at most
    that. Then `privacy.selection.selected_epsilon`.

    Raises:
        ConfigInvalid: a cell has no guarantee, or shows more than its own run; or cells differ in [data].
    """
    accountant, curve, failure, used = RdpAccountant(), np.zeros(len(ORDERS)), 0.0, 0.0
    apart = list[Spending]()
    score = choice.score_event
    if len({cell.config.data.model_dump_json() for cell in cells}) > 1:
        raise ConfigInvalid(
            "private_selection: cells differ in [data], so that an example of one is none of another, and no epsilon "
            "is for both; choose among cells that read the same data in the same way"
        )
    if len({cell.config.privacy.unit for cell in cells}) > 1:
        raise ConfigInvalid(
            "private_selection: cells differ in privacy.unit, so that no epsilon is for both; choose among those of one"
        )
    for number, cell in enumerate(cells, 1):
        say(f"checking cell {number} of {len(cells)}")
        plan = _plan(cell, choice)
        budget = planned_budget(plan)
        if budget is None:
            raise ConfigInvalid(
                f"private_selection: cell {cell.label} has no guarantee of its own; give every cell noise, and leave "
                "side channels and non-private memories out"
            )
        histories = undominated(dict(one.planned) for one in budget.cohorts.values())
        for history in histories:
            events = history | ({score: history.get(score, 0) + 1} if score is not None else {})
            curve = np.maximum(curve, accountant.curve(events))
            failure = max(failure, total_failure(events))
        lost = cell.config.privacy.delta - plan.accounting_delta
        used = max(used, lost)
        apart.append(Spending(run=cell.key, data="", delta=choice.delta, delta_used=lost, histories=tuple(histories)))
    left = choice.delta - choice.runs.mean * used
    epsilon = selected_epsilon(choice.runs, curve, left, failure) if left > 0.0 else math.inf
    if math.isinf(epsilon):
        raise ConfigInvalid(
            f"private_selection.delta = {choice.delta:g} is not enough for {choice.runs.mean:.3g} expected runs, of "
            f"which each may fail with probability {used + failure:.3g}; give a larger delta, or fewer runs"
        )
    return Bound(epsilon=epsilon, delta=choice.delta, accounting=left, cells=len(cells), openly=total(apart).epsilon)


def _plan(cell: Cell, choice: Choice) -> RowPlan:
    config = cell.config
    if config.attacks.enabled:
        raise ConfigInvalid(
            f"private_selection: cell {cell.label} is attacked, which shows more of a run than the choice may; set "
            "attacks.enabled = false, and audit the winner"
        )
    if config.replay_noise:
        raise ConfigInvalid(
            f"private_selection: cell {cell.label} repeats its noise, and every run needs fresh noise; set "
            "replay_noise = false"
        )
    if choice.score_noise is not None and config.privacy.unit == "person":
        raise ConfigInvalid(
            f"private_selection: cell {cell.label} has privacy.unit = 'person', and the score is charged for one test "
            "example, not for all of a person's; declare the test data public, or set privacy.unit = 'example'"
        )
    ((plan, _),) = prepare(config).rows
    if choice.score_noise is not None and plan.own_models:
        raise ConfigInvalid(
            f"private_selection: cell {cell.label} has a model per client, whose accuracy is no count of examples; "
            "declare the test data public, or leave the cell out"
        )
    return plan
