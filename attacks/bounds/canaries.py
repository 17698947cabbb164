"""Canaries: examples, clients and memory entries put in by coins that were logged before training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AuditInvalid, CandidatesInvalid
from attacks.games.attack import Candidates, FloatArray
from attacks.games.judging import purpose_seed
from attacks.games.views import Capability, View
from evaluation.evidence import Estimate


@dataclass(frozen=True)
class Canaries:
    """Examples with the coins that decide whether they are inserted. Keep the truth away from attacks.

    Attributes:
        candidates: the canaries.
        truth: bool (n,), inserted or not; independent fair coins.
    """

    candidates: Candidates
    truth: NDArray[np.bool_]


def mislabelled_canaries(pool: Candidates, count: int, classes: int, seed: int) -> Canaries:
    """Examples of the pool with labels drawn uniformly from the wrong ones: they can only be learnt by heart.

    Args:
        pool: examples to choose from, without replacement. The canaries' own tasks and clusters stay.
        count: how many, 1 to the size of the pool.
        classes: number of labels, at least 2.
        seed: public seed of choice and labels. The coins are drawn from it as well: use a secret seed if the audited
            code could know it.

    Raises:
        AuditInvalid: count or classes out of range.
    """
    if not 1 <= count <= len(pool) or classes < 2:
        raise AuditInvalid(f"{count} canaries from {len(pool)} examples of {classes} classes: that cannot be drawn")
    random = np.random.default_rng(purpose_seed(seed, "attacks.bounds.mislabelled_canaries"))
    chosen = random.permutation(len(pool))[:count]
    drawn = pool.take(chosen)
    labels = (drawn.y + random.integers(1, classes, size=count)) % classes
    coins = random.random(count) < 0.5
    return Canaries(Candidates(drawn.x, labels, drawn.cluster, drawn.task), coins)


def direction_canaries(count: int, dimension: int, seed: int) -> FloatArray:
    """Random unit vectors (count, dimension): gradients (or whole client updates) nothing else points along.

    In high dimension they are nearly orthogonal to each other and to every honest update (Andrew et al. 2024, section
    3).

    Raises:
        AuditInvalid: a size below 1.
    """
    if min(count, dimension) < 1:
        raise AuditInvalid(f"{count} canaries of dimension {dimension}: both must be at least 1")
    rows = np.random.default_rng(purpose_seed(seed, "attacks.bounds.direction_canaries")).normal(
        size=(count, dimension)
    )
    unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def memory_coins(trained: NDArray[np.bool_], rate: float, seed: int) -> NDArray[np.bool_]:
    """Forced retention: a further coin for every trained canary decides whether the memory keeps it, (n,).

    Raises:
        AuditInvalid: the rate is outside (0, 1).
    """
    if not 0.0 < rate < 1.0:
        raise AuditInvalid(f"the rate is {rate}; it must lie strictly between 0 and 1")
    random = np.random.default_rng(purpose_seed(seed, "attacks.bounds.memory_coins"))
    return np.asarray(trained & (random.random(len(trained)) < rate))


@dataclass(frozen=True)
class DirectionScore:
    """How far the released sums go along each candidate's direction, added over rounds.

    The most powerful test of a Gaussian mechanism's canary. A candidate's x is its direction, flat, of the sums'
    dimension; the candidates are gradient canaries (`direction_canaries`).
    """

    name: str = "direction of a canary"
    requires: frozenset[Capability] = frozenset({Capability.SUMS})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Inner products, (n,).

        Raises:
            CandidatesInvalid: dimensions differ.
        """
        total = view.array("sums").astype(np.float64).sum(axis=0)
        directions = candidates.x.reshape(len(candidates), -1).astype(np.float64)
        if directions.shape[1:] != total.shape:
            raise CandidatesInvalid(
                f"canary directions have {directions.shape[1]} entries, the sums {total.shape}; they must be alike"
            )
        along: FloatArray = directions @ total
        return along


def one_shot_estimate(cosines: FloatArray, delta: float) -> Estimate:
    """Epsilon estimated from the cosines of inserted canaries with the final sum (Andrew et al. 2024, algorithm 2).

    The null distribution of a random direction's cosine is N(0, 1/d); with the standardised cosines z of the canaries
    fitted as normal, the estimate is that of telling N(mean, sd) from N(0, 1) at equal scales. It proves nothing:
    canaries may be weaker than the worst case.

    Args:
        cosines: (n,), times sqrt(d), of canaries that were inserted; at least two.
        delta: in (0, 1).

    Raises:
        AuditInvalid: fewer than two, values that are not finite, or delta out of range.
    """
    from attacks.bounds.gaussian import gaussian_epsilon

    if len(cosines) < 2 or not np.isfinite(cosines).all():
        raise AuditInvalid(f"{len(cosines)} cosines; at least two finite ones are needed")
    spread = max(float(np.std(cosines, ddof=1)), 1.0)
    mu = max(float(np.mean(cosines)), 0.0) / spread
    return Estimate(
        value=gaussian_epsilon(mu, delta),
        delta=delta,
        assumption="canaries as strong as the worst case, normal cosines",
    )
