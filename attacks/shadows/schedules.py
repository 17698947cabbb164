"""Which examples a shadow model sees and when: coins per model, and batches drawn from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ShadowsInvalid
from attacks.shadows.rule import Schedule

Bools = NDArray[np.bool_]


def balanced_coins(models: int, examples: int, seed: int) -> Bools:
    """Each example lies in exactly half of the models (rounded down), (models, examples) (Carlini et al. 2022, VI).

    The coins of one model are nearly independent; those of one example are not: half of them are true. With one model
    they are independent fair coins.
    """
    random = np.random.default_rng(seed)
    if models == 1:
        return random.random((1, examples)) < 0.5
    ranks = random.random((models, examples)).argsort(axis=0).argsort(axis=0)
    return np.asarray(ranks < models // 2)


def epochs(members: Bools, *, batch: int, steps: int, seed: int) -> Schedule:
    """Batches from reshuffled passes over each model's members, int64 (M, steps, batch).

    A pass that does not fill its last batch is continued by the next pass, so that all models make equally many steps.

    Raises:
        ShadowsInvalid: a model has no member, or a size is below 1.
    """
    if min(batch, steps) < 1 or not members.size or not members.any(axis=1).all():
        raise ShadowsInvalid(f"batch {batch}, steps {steps}, {members.shape} coins: every model needs a member")
    random = np.random.default_rng(seed)
    out = np.empty((len(members), steps * batch), dtype=np.int64)
    for row, own in zip(out, members, strict=True):
        index = np.flatnonzero(own)
        passes = -(-len(row) // len(index))
        row[:] = random.permuted(np.tile(index, (passes, 1)), axis=1).reshape(-1)[: len(row)]
    return out.reshape(len(members), steps, batch)


def fixed_batches(members: Bools, *, batch: int, steps: int, seed: int) -> Schedule:
    """Independent batches of a fixed size without replacement, empty slots (-1) where members are too few."""
    if min(batch, steps) < 1 or members.ndim != 2:
        raise ShadowsInvalid(f"batch {batch}, steps {steps}, coins {members.shape}: sizes must be positive")
    random = np.random.default_rng(seed)
    out = np.full((len(members), steps, batch), -1, dtype=np.int64)
    for rows, own in zip(out, members, strict=True):
        index = np.flatnonzero(own)
        take = min(batch, len(index))
        if take:
            order = random.random((steps, len(index))).argpartition(take - 1, axis=1)[:, :take]
            rows[:, :take] = index[order]
    return out


def poisson_batches(members: Bools, *, rate: float, slots: int, steps: int, seed: int) -> Schedule:
    """Poisson batches: each member joins each step by its own coin; empty slots (-1) fill up to `slots`.

    Raises:
        ShadowsInvalid: a batch came out larger than `slots`, or the rate is outside (0, 1].
    """
    if not 0.0 < rate <= 1.0 or min(slots, steps) < 1:
        raise ShadowsInvalid(f"rate {rate}, slots {slots}, steps {steps}: the rate must lie in (0, 1], sizes above 0")
    random = np.random.default_rng(seed)
    out = np.full((len(members), steps, slots), -1, dtype=np.int64)
    for rows, own in zip(out, members, strict=True):
        index = np.flatnonzero(own)
        joins = random.random((steps, len(index))) < rate
        largest = int(joins.sum(axis=1).max(initial=0))
        if largest > slots:
            raise ShadowsInvalid(f"a Poisson batch holds {largest} examples, above the {slots} slots; raise slots")
        step, which = np.nonzero(joins)
        place = np.arange(len(step)) - np.searchsorted(step, step)
        rows[step, place] = index[which]
    return out


def joined(*parts: Schedule) -> Schedule:
    """Batches side by side: the first part's examples, then the next's, for the same models and steps."""
    return np.concatenate(parts, axis=2)


def kept_exactly(present: Bools, size: int, seed: int) -> Bools:
    """A uniform random subset of exactly `size` of each model's present examples, as masks like `present`.

    Raises:
        ShadowsInvalid: a model has fewer present examples.
    """
    fewest = int(present.sum(axis=1).min(initial=size))
    if fewest < size or size < 0:
        raise ShadowsInvalid(f"{size} examples cannot be kept of {fewest}; keep fewer")
    draws = np.where(present, np.random.default_rng(seed).random(present.shape), 2.0)
    return np.asarray((draws.argsort(axis=1).argsort(axis=1) < size) & present)
