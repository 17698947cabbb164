"""Forgetting under every name it is published with, and what a second run or several clients add to it.

"Forgetting" of two papers can be compared only if both mean the same number. `forgetting_by_name` gives all of
them for one matrix. The functions on arrays look where a matrix of accuracies per task cannot: at one client
that lost one class, and at what the server's average loses in the moment it is made.

Rules are those of `evaluation.matrix`: what was not measured (NaN) is left out of means, and a mean of nothing
is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.errors import MatrixError
from evaluation.matrix import AccuracyMatrix

Floats = NDArray[np.float64]

FORGETTING = MappingProxyType(
    {
        "chaudhry": AccuracyMatrix.forgetting,
        "mfcl": AccuracyMatrix.forgetting_mfcl,
        "fed_mammoth": AccuracyMatrix.forgetting_fed_mammoth,
        "lander": AccuracyMatrix.forgetting_lander,
        "mammoth": AccuracyMatrix.forgetting_mammoth,
        "multifcl": AccuracyMatrix.forgetting_multifcl,
    }
)
"""The definitions by the name of their source; "chaudhry" is the usual one and this toolkit's default."""


def forgetting_by_name(matrix: AccuracyMatrix) -> dict[str, float]:
    """Return every definition's number for one matrix, as a share in [-1, 1] or NaN."""
    return {name: measure(matrix) for name, measure in FORGETTING.items()}


def relative_forgetting(matrix: AccuracyMatrix) -> float:
    """Mean over tasks but the last of F_j divided by the best accuracy before the last stage.

    1 where all of a task was lost, whatever its best accuracy was; a task that was never right at any stage
    had nothing to lose and is left out.
    """
    drops = matrix.forgetting_per_task()
    last = matrix.stages - 1
    best = drops[:last] + matrix.final[:last] if last > 0 else np.empty(0)
    return _mean(drop / peak for drop, peak in zip(drops, best, strict=False) if peak > 0.0)


def intransigence(matrix: AccuracyMatrix, joint: ArrayLike) -> float:
    """How much worse a task is learnt because others came before it: mean of `joint[j]` - A[j, j].

    Chaudhry et al. 2018, equation 4, averaged over the measured stages. Negative where earlier tasks helped.

    Args:
        joint: accuracy on each task of a model trained on the data of all tasks up to it together, shape (T,),
            NaN where unknown. One joint run over all tasks is a common stand-in; say so where it is used.

    Raises:
        MatrixError: `joint` does not have shape (T,), or an accuracy outside [0, 1].
    """
    reference = _fractions("joint", joint)
    if reference.shape != (matrix.tasks,):
        raise MatrixError(f"joint has shape {reference.shape}; it needs one accuracy per task, ({matrix.tasks},)")
    return _mean(reference[j] - matrix.values[j, j] for j in range(matrix.stages))


def class_client_change(accuracies: ArrayLike) -> float:
    """FlexFed's forgetting: mean over classes of the mean over clients of accuracy now minus the best so far.

    Never positive, 0 if every client is at its best on every class. Averages over clients can stay equal while
    some clients lose a class and others gain it; this number sees the losses only. Per-class per-client
    forgetting of FlexFed (2025, arXiv 2505.13576), with the sign it has there. A class that no client tested is
    left out, and so is a client without test examples of a class.

    Args:
        accuracies: shape (rounds, clients, classes), NaN without test examples; the last round is "now".

    Raises:
        MatrixError: another number of axes, no round, or an accuracy outside [0, 1].
    """
    values = _fractions("accuracies", accuracies)
    if values.ndim != 3 or not len(values):
        raise MatrixError(f"accuracies has shape {values.shape}; it must be (rounds, clients, classes), rounds > 0")
    change = values[-1] - np.fmax.reduce(values, axis=0)
    return _mean(_mean(change[:, c]) for c in range(change.shape[1]))


def temporal_forgetting(before: ArrayLike, after: ArrayLike) -> float:
    """Mean over clients of accuracy on old tasks before a new task was learnt, minus the accuracy after it.

    Forgetting in time; Yang et al. 2023 (arXiv 2312.16475) name it and its spatial twin. The formulas are ours.

    Args:
        before: accuracy of each client's model on that client's test data of old tasks, shape (clients,).
        after: the same after local training on the new task.

    Raises:
        MatrixError: shapes differ, not one axis, or an accuracy outside [0, 1].
    """
    return _drop("before", before, "after", after)


def spatial_forgetting(local: ArrayLike, aggregated: ArrayLike) -> float:
    """Mean over clients of the accuracy that averaging costs: the client's own model minus the server's.

    Both are judged on the client's own test data, in the same round: `local` right before its update was summed,
    `aggregated` right after. Negative where the others' updates helped. See `temporal_forgetting`.

    Args:
        local: accuracy of each client's own model on its own test data, shape (clients,).
        aggregated: accuracy of the aggregated model on the same data, shape (clients,).

    Raises:
        MatrixError: shapes differ, not one axis, or an accuracy outside [0, 1].
    """
    return _drop("local", local, "aggregated", aggregated)


def _drop(first_name: str, first: ArrayLike, second_name: str, second: ArrayLike) -> float:
    high, low = _fractions(first_name, first), _fractions(second_name, second)
    if high.ndim != 1 or high.shape != low.shape:
        raise MatrixError(
            f"{first_name} has shape {high.shape} and {second_name} {low.shape}; both need one accuracy per client"
        )
    return _mean(high - low)


def _fractions(name: str, values: ArrayLike) -> Floats:
    result = np.asarray(values, dtype=np.float64)
    measured = result[~np.isnan(result)]
    if measured.size and (measured.min() < 0.0 or measured.max() > 1.0):
        raise MatrixError(f"{name} lies in [{measured.min()}, {measured.max()}]; accuracies must be in [0, 1]")
    return result


def _mean(values: Iterable[float]) -> float:
    finite = [float(value) for value in values if not np.isnan(value)]
    return sum(finite) / len(finite) if finite else float("nan")
