"""The leakage matrix: what the model after task i gives away about the examples of task j, kept and discarded apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from attacks.errors import GameInvalid
from attacks.games.attack import Candidates, FloatArray
from attacks.games.judging import BoolArray, Terms, auc_score, has_spread
from evaluation.evidence import Score

Row = tuple[Score | None, ...]


@dataclass(frozen=True)
class LeakageMatrix:
    """Membership advantage 2 AUC - 1 on task j's examples after task i, in [-1, 1], 0 for a coin flip.

    Attributes:
        tasks: their numbers, in order; rows and columns follow it.
        kept: row i, column j <= i: members that the memory held, against non-members of the same task. Else None.
        discarded: the same for members that were seen and not kept.

    Does forgetting protect? Read down a column of `discarded`. Does replay undo it? Compare with `kept`.
    """

    tasks: tuple[int, ...]
    kept: tuple[Row, ...]
    discarded: tuple[Row, ...]

    def table(self, accuracy: Sequence[Sequence[float]] | None = None) -> str:
        """Plain text, one line per (task trained last, task asked about), beside an accuracy matrix if given.

        Raises:
            GameInvalid: the accuracy matrix has not one row and column per task.
        """
        size = len(self.tasks)
        if accuracy is not None and (len(accuracy) != size or any(len(row) != size for row in accuracy)):
            raise GameInvalid(f"the accuracy matrix must be {size} x {size}, as the leakage matrix is")
        lines = ["after  about  kept                    discarded" + ("               accuracy" if accuracy else "")]
        for i, after in enumerate(self.tasks):
            for j in range(i + 1):
                line = f"{after:5d}  {self.tasks[j]:5d}  {_cell(self.kept[i][j])}  {_cell(self.discarded[i][j])}"
                lines.append(line + (f"  {accuracy[i][j]:8.3f}" if accuracy is not None else ""))
        return "\n".join(lines)


def _cell(score: Score | None) -> str:
    return "n/a".ljust(22) if score is None else f"{score.value:6.3f} [{score.low:6.3f},{score.high:6.3f}]"


def leakage_matrix(
    score_after: Callable[[int, Candidates], FloatArray],
    candidates: Candidates,
    trained: BoolArray,
    kept: NDArray[np.bool_],
    terms: Terms,
) -> LeakageMatrix:
    """Plays membership once for every pair of tasks.

    Args:
        score_after: (task i, candidates of one task j <= i) -> scores (n,) from the model after task i alone. Shadow
            models that kept few of the examples say little of the kept ones: use an offline family there.
        candidates: members and non-members of all tasks, by coin.
        trained: bool (n,), the coins.
        kept: bool (n,) if the memory never changes what it keeps, or (tasks, n): what it held when task i closed.
        terms: the confidence of the intervals; the bound on epsilon is not computed here.

    Returns:
        Cells are None where a group (kept, discarded, non-members) has examples of fewer than two clusters.

    Raises:
        GameInvalid: shapes do not fit, or something is kept that was not trained on.
    """
    tasks = [int(task) for task in np.unique(candidates.task)]
    held = np.broadcast_to(kept, (len(tasks), len(candidates))) if kept.ndim == 1 else kept
    if trained.shape != (len(candidates),) or held.shape != (len(tasks), len(candidates)) or (held & ~trained).any():
        raise GameInvalid(
            f"trained has shape {trained.shape} and kept {kept.shape} for {len(candidates)} candidates of {len(tasks)} "
            "tasks; only trained examples can be kept"
        )
    rows: dict[bool, list[Row]] = {True: [], False: []}
    for i, after in enumerate(tasks):
        cells: dict[bool, list[Score | None]] = {True: [], False: []}
        for j, about in enumerate(tasks):
            own = np.flatnonzero(candidates.task == about)
            scores = score_after(after, candidates.take(own)) if j <= i else np.zeros(0)
            for wanted in (True, False):
                group = trained[own] & (held[i, own] == wanted)
                asked = group | ~trained[own]
                empty = j > i or not has_spread(group[asked], candidates.cluster[own][asked])
                cells[wanted].append(
                    None if empty else _advantage(scores, group, asked, candidates.cluster[own], terms)
                )
        for wanted in (True, False):
            rows[wanted].append(tuple(cells[wanted]))
    return LeakageMatrix(tuple(tasks), tuple(rows[True]), tuple(rows[False]))


def _advantage(
    scores: FloatArray, group: BoolArray, asked: BoolArray, cluster: NDArray[np.int64], terms: Terms
) -> Score:
    score = auc_score(scores[asked], group[asked], cluster[asked], terms)
    return replace(score, value=2 * score.value - 1, low=2 * score.low - 1, high=2 * score.high - 1)
