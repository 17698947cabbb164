"""The blind baseline: can the candidates' truth be told from the candidates alone?

A game whose members and non-members differ by themselves (other people, other times, other tasks) lets an
attack succeed without any leak. So a classifier that never saw a view is trained on the truth of some
blocks and judged on the others. It is the challenger's check of its own game, not an adversary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from attacks.games.attack import Candidates, FloatArray
from attacks.games.standard import groups_of, standardise
from evaluation.evidence import Score
from evaluation.roc import auc

_FOLDS = 5
_COMPONENTS = 12
_PERMUTATIONS = 200
_RIDGE = 0.1


def simple_features(candidates: Candidates) -> FloatArray:
    """Features of x alone, standardised per (task, label), (n, k).

    Mean and standard deviation along the last axis, the first 12 principal components, and the distance to
    the mean of the group. Tasks and labels themselves are left out, as attacks are judged within them.
    """
    x = candidates.x.astype(np.float64)
    flat = x.reshape(len(x), -1)
    groups = groups_of(candidates)
    centred = flat - flat.mean(axis=0) if len(flat) else flat
    # Eigenvectors of the smaller Gram matrix give the principal components at a fraction of a full SVD.
    if flat.shape[1] <= len(flat):
        components = centred @ np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :_COMPONENTS]
    else:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        components = vectors[:, ::-1][:, :_COMPONENTS] * np.sqrt(np.maximum(values[::-1][:_COMPONENTS], 0.0))
    distance = np.zeros((len(flat), 1))
    for group in np.unique(groups):
        member = groups == group
        distance[member, 0] = np.linalg.norm(flat[member] - flat[member].mean(axis=0), axis=1)
    moments = np.concatenate([x.mean(axis=-1).reshape(len(x), -1), x.std(axis=-1).reshape(len(x), -1)], axis=1)
    return standardise(np.concatenate([moments, components, distance], axis=1), groups)


def _folds(clusters: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.intp]:
    labels, inverse = np.unique(clusters, return_inverse=True)
    order = random.permutation(len(labels))
    return (order % _FOLDS)[inverse]


def cross_fitted_scores(features: FloatArray, fold: NDArray[np.intp], truths: FloatArray) -> FloatArray:
    """Ridge discriminant scores of every example, from the examples of the other folds.

    Args:
        features: (n, k).
        fold: (n,), fold numbers.
        truths: (n, t), several assignments of truth (0 or 1), each fitted by itself.

    Returns:
        (n, t). Centred within each fold, so that differing shares of members between folds (which alone
        push a cross-fitted AUC below one half) do not enter.
    """
    scores = np.zeros(truths.shape)
    for number in np.unique(fold):
        judged, fitted = fold == number, fold != number
        if not fitted.any():
            continue
        mean = features[fitted].mean(axis=0)
        inside, outside = features[fitted] - mean, features[judged] - mean
        penalty = _RIDGE * len(inside) * np.eye(inside.shape[1])
        targets = truths[fitted] - truths[fitted].mean(axis=0)
        found = outside @ np.linalg.solve(inside.T @ inside + penalty, inside.T @ targets)
        scores[judged] = found - found.mean(axis=0)
    return scores


def _permuted(truth: NDArray[np.bool_], clusters: NDArray[np.int64], random: np.random.Generator) -> FloatArray:
    """The truth, then 200 permutations of it, (n, 201): of whole clusters if truth is constant in each."""
    _, unit = np.unique(clusters, return_inverse=True)
    share = np.bincount(unit, weights=truth) / np.bincount(unit)
    if not np.isin(share, (0.0, 1.0)).all():
        unit, share = np.arange(len(truth)), truth.astype(np.float64)
    columns = [share, *(random.permutation(share) for _ in range(_PERMUTATIONS))]
    return np.stack(columns, axis=1)[unit]


def blind_auc(candidates: Candidates, truth: NDArray[np.bool_], *, seed: int, confidence: float = 0.95) -> Score:
    """AUC of a classifier that sees the candidates and no view, with the interval that chance allows.

    Linear discriminant on `simple_features`, cross-fitted over five folds of whole clusters, standardised
    per (task, label) like the attacks' scores. The interval is AUC +- z times the standard deviation of the
    AUCs of 200 permuted truths, run through the same fits: DeLong's or a bootstrap's would be too narrow,
    as they hold the fitted classifiers fixed. Measured on honest coins: about one interval in twenty leaves
    out 0.5.

    Args:
        candidates: (n,).
        truth: bool (n,), both values present.
        seed: public seed of folds and permutations.
        confidence: level, in (0, 1).
    """
    random = np.random.default_rng(seed)
    groups = groups_of(candidates)
    truths = _permuted(truth, candidates.cluster, random)
    raw = cross_fitted_scores(simple_features(candidates), _folds(candidates.cluster, random), truths)
    scores = standardise(raw, groups)
    aucs = np.array([auc(column, coins) for column, coins in zip(scores.T, truths.T > 0.5, strict=True)])
    half = float(norm.isf((1 - confidence) / 2) * aucs[1:].std())
    value = float(aucs[0])
    return Score(
        value=value, low=max(0.0, value - half), high=min(1.0, value + half), confidence=confidence, n=len(candidates)
    )
