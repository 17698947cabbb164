"""What each task's examples leak while the run goes on: membership advantage, kept and discarded apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.games.attack import Candidates, Losses
from attacks.games.judging import Terms
from attacks.games.standard import groups_of, standardise
from attacks.membership.leakage import LeakageMatrix, leakage_matrix
from attacks.membership.losses import log_odds, resolved_at
from evaluation.evidence import Score
from secure_fcl.engines.simulation import SIMULATION, file_stem, load_arrays
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder

Ints = NDArray[np.int64]

#: With fewer held-out blocks in a task, an interval says less than it seems to; the cell stays empty.
FEWEST_BLOCKS = 10


def held_after(plan: RowPlan, folder: RunFolder, slot: int) -> Ints:
    """Return the numbers of all examples that any device's memory held when a slot closed; none without a memory."""
    if plan.memory is None:
        return np.empty(0, dtype=np.int64)
    stored = load_arrays(folder.path / SIMULATION / f"memory-{file_stem(plan.name)}-{slot:03d}.npz")
    return np.concatenate([*stored.values()]).astype(np.int64)


def leakage(
    plan: RowPlan,
    folder: RunFolder,
    losses: Losses,
    transcript: dict[str, NDArray[np.generic]],
    pool: Ints,
    candidates: Candidates,
    terms: Terms,
) -> dict[str, Any]:
    """Return the leakage matrix of a row as JSON: advantage on the examples of slot j by the model after slot i.

    Cells of a task with fewer than `FEWEST_BLOCKS` held-out blocks are null. `pool` are the example numbers of
    `candidates`. The score is the log odds, standardised per class.
    """
    slots = transcript["model_tasks"]
    last = {int(slot): place for place, slot in enumerate(slots)}
    trained = ~plan.scenario.held_out[pool]
    known = [int(slot) for slot in np.unique(candidates.task)]
    kept = np.stack([np.isin(pool, held_after(plan, folder, slot)) for slot in known])

    def score_after(slot: int, asked: Candidates) -> NDArray[np.float64]:
        weights = transcript["models"][last[slot]]
        return standardise(log_odds(resolved_at(losses, weights, asked)), groups_of(asked))

    outside = [len(np.unique(candidates.cluster[~trained & (candidates.task == slot)])) for slot in known]
    matrix = leakage_matrix(score_after, candidates, trained, kept & trained, terms)
    return _record(matrix, [count >= FEWEST_BLOCKS for count in outside])


def _record(matrix: LeakageMatrix, enough: list[bool]) -> dict[str, Any]:
    def cell(score: Score | None, fine: bool) -> dict[str, float] | None:
        return {"value": score.value, "low": score.low, "high": score.high} if score is not None and fine else None

    def cells(rows: tuple[tuple[Score | None, ...], ...]) -> list[list[dict[str, float] | None]]:
        return [[cell(score, fine) for score, fine in zip(row, enough, strict=True)] for row in rows]

    return {"tasks": list(matrix.tasks), "kept": cells(matrix.kept), "discarded": cells(matrix.discarded)}
