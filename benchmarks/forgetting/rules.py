"""Memories that choose by looking: rules of the literature, none of them private, as pure functions.

A run of this project offers none of them: what an example's neighbours, its loss or the model's doubt decide about it
is no coin, so that no accountant charges it. They stand here to be attacked beside the coins that a run does flip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What a device knows of its n examples when a task closes.

    Attributes:
        features: of the model, (n, d).
        labels: int64 (n,).
        losses: cross-entropies under the model, (n,).
        entropy: of the model's predictions in nats, (n,).
    """

    features: Floats
    labels: Ints
    losses: Floats
    entropy: Floats


MemoryRule = Callable[[Seen, int, np.random.Generator], Ints]
"""(examples in the order of the stream, how many to keep, coins) -> their places, ascending, int64 (size,)."""


def uniform(seen: Seen, size: int, coins: np.random.Generator) -> Ints:
    """A uniform subset, whatever the examples: what coins keep, at a fixed size."""
    return np.sort(coins.permutation(len(seen.labels))[:size])


def reservoir(seen: Seen, size: int, coins: np.random.Generator) -> Ints:
    """Algorithm R (Vitter 1985, "Random sampling with a reservoir", section 2): later ones replace one by chance."""
    kept = np.arange(min(size, len(seen.labels)))
    for place in range(size, len(seen.labels)):
        slot = int(coins.integers(place + 1))
        if slot < size:
            kept[slot] = place
    return np.sort(kept)


def herding(seen: Seen, size: int, coins: np.random.Generator) -> Ints:
    """Per class, greedily, who brings the kept mean nearest to the class's (Rebuffi et al. 2017, iCaRL, algorithm 4).

    Features are normalised (section 2.1). Classes get equal parts of `size`, the first ones one more where it has a
    remainder; `coins` are not flipped.
    """
    del coins
    unit = seen.features / np.maximum(np.linalg.norm(seen.features, axis=1, keepdims=True), 1e-12)
    found: list[int] = []
    for members, quota in _by_class(seen.labels, size):
        own = unit[members]
        mean, total, chosen = own.mean(axis=0), np.zeros(own.shape[1]), np.zeros(len(own), dtype=np.bool_)
        for count in range(1, quota + 1):
            away = np.linalg.norm(mean - (total + own) / count, axis=1)
            best = int(np.where(chosen, np.inf, away).argmin())
            chosen[best], total = True, total + own[best]
        found += members[chosen].tolist()
    return np.sort(np.array(found, dtype=np.int64))


def most_surprising(seen: Seen, size: int, coins: np.random.Generator) -> Ints:
    """The highest losses (Isele and Cosgun 2018, "Selective experience replay for lifelong learning", "Surprise").

    MIR (Aljundi et al. 2019, section 3.1) ranks by losses too, when it replays and not when it stores.
    """
    del coins
    return np.sort(np.argsort(-seen.losses, kind="stable")[:size])


def rainbow(seen: Seen, size: int, coins: np.random.Generator) -> Ints:
    """Per class, every k-th in the order of uncertainty (Bang et al. 2021, "Rainbow memory", section 4.1, algorithm 1).

    Uncertainty is the entropy of one prediction; the paper asks how predictions of perturbed copies differ.
    """
    del coins
    found: list[int] = []
    for members, quota in _by_class(seen.labels, size):
        order = members[np.argsort(seen.entropy[members], kind="stable")]
        found += order[np.linspace(0, len(order) - 1, quota).round().astype(np.int64)].tolist()
    return np.sort(np.array(found, dtype=np.int64))


def _by_class(labels: Ints, size: int) -> list[tuple[Ints, int]]:
    """Members of each class present, and how many of them may be kept; a class that is too small leaves its rest."""
    classes = np.unique(labels)
    parts = [size // len(classes) + (place < size % len(classes)) for place in range(len(classes))]
    members = [np.flatnonzero(labels == label) for label in classes]
    return [(own, min(part, len(own))) for own, part in zip(members, parts, strict=True)]


RULES: dict[str, MemoryRule] = {
    "coins": uniform, "reservoir": reservoir, "herding": herding, "highest loss": most_surprising, "rainbow": rainbow,
}  # fmt: skip
