"""Is this person in the federation, and what did they do most? Asked of released sums, of whole clients.

The adversary holds *other* examples of a person, not those that were trained on: they tell what the person's part of a
sum looks like, and no more. Sums are additive, so a world without a person is the sum less that person's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.errors import GameInvalid
from attacks.games.judging import purpose_seed
from attacks.sums.likelihood import population_scores, shift_scores
from evaluation.evidence import Score
from evaluation.intervals import cluster_bootstrap
from evaluation.roc import auc

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, kw_only=True)
class PersonWorlds:
    """Scores of every person in every world, and who was in it; (W, persons)."""

    scores: Floats
    truth: Bools


def knowing_others(parts: Floats, held: Floats, coins: Bools, noise: Floats) -> PersonWorlds:
    """Scores of an adversary who knows everybody else's part: what is left is the person's, or noise.

    Args:
        parts: (persons, D), what each person adds, whitened.
        held: (persons, D), what each person's other examples would add.
        coins: (W, persons), who is in each world.
        noise: (W, D), whitened.
    """
    scores = [
        shift_scores(noise + coins[:, k, None] * parts[k], np.broadcast_to(held[k], noise.shape))
        for k in range(len(parts))
    ]
    return PersonWorlds(scores=np.stack(scores, axis=1), truth=coins)


def knowing_population(parts: Floats, held: Floats, coins: Bools, noise: Floats) -> PersonWorlds:
    """Scores of an adversary who knows how people's parts spread, from other examples of other people.

    Arguments as `knowing_others`. Mean and covariance leave the person out who is asked about.

    Raises:
        GameInvalid: fewer than three persons.
    """
    if len(parts) < 3:
        raise GameInvalid(f"{len(parts)} persons; a population needs two beside the one who is asked about")
    totals = noise + coins.astype(np.float64) @ parts
    same = np.zeros(len(held), dtype=np.int64)
    scores = [
        population_scores(totals, held[[k]], same[:1], (np.delete(held, k, axis=0), same[1:]))[:, 0]
        for k in range(len(held))
    ]
    return PersonWorlds(scores=np.stack(scores, axis=1), truth=coins)


def person_auc(worlds: PersonWorlds, seed: int, confidence: float = 0.95, repeats: int = 300) -> Score:
    """AUC over all persons and worlds, one threshold for all, with an interval that draws whole persons.

    Worlds repeat at will and persons do not: those of one study are what limits how far its figure carries.

    Raises:
        GameInvalid: scores and truths do not fit.
        evaluation.errors.TooFewSamples: fewer than two persons, or nearly all draws without members or others.
    """
    if worlds.scores.shape != worlds.truth.shape or worlds.scores.ndim != 2:
        raise GameInvalid(f"scores {worlds.scores.shape} and truths {worlds.truth.shape} must be (worlds, persons)")
    scores, truth = worlds.scores.T.ravel(), worlds.truth.T.ravel()
    persons = np.repeat(np.arange(worlds.scores.shape[1]), worlds.scores.shape[0])

    def area(rows: NDArray[np.int64]) -> float:
        chosen = truth[rows]
        return auc(scores[rows], chosen) if 0 < int(chosen.sum()) < len(chosen) else float("nan")

    return cluster_bootstrap(area, persons, purpose_seed(seed, "persons"), repeats=repeats, confidence=confidence)


def counts_of_classes(residual: Floats, typical: Sequence[Floats]) -> Floats:
    """Least squares: how many typical examples of each class a person's part of the sums holds, (classes,).

    Args:
        residual: (D,), the sums less everybody else's part, whitened.
        typical: for each class (D,), what a mean example of it adds.
    """
    return np.asarray(np.linalg.lstsq(np.stack([*typical], axis=1), residual, rcond=None)[0])
