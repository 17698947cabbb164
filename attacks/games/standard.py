"""What every adversary may do first: scores compared within one task and class."""

from __future__ import annotations

import numpy as np

from attacks.games.attack import Candidates, FloatArray, IntArray


def groups_of(candidates: Candidates) -> IntArray:
    """Group number of each candidate's (task, label) pair, (n,): both are known to the adversary."""
    if not len(candidates):
        return np.zeros(0, dtype=np.int64)
    pairs = np.stack([candidates.task, candidates.y], axis=1)
    inverse: IntArray = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return inverse


def standardise(values: FloatArray, groups: IntArray) -> FloatArray:
    """Subtracts each group's mean and divides by its standard deviation; the truth plays no part.

    `values` is (n,) or (n, k), standardised by column. Tasks and classes are learned to different losses
    and kept at different rates; without this step an AUC over several tasks would measure which task an
    example is from. A group of one, or of equal values, becomes 0. Invariant under any positive affine map
    applied to a group.
    """
    out = np.zeros_like(values, dtype=np.float64)
    for group in np.unique(groups):
        member = groups == group
        centred = values[member] - values[member].mean(axis=0)
        spread = values[member].std(axis=0)
        flat = spread <= 1e-12 * np.maximum(1.0, np.abs(values[member]).max(axis=0))
        out[member] = np.where(flat, 0.0, centred / np.where(flat, 1.0, spread))
    return out
