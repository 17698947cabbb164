"""A cost model of masked sums, fitted to measured points and tried on the largest ones, which it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from benchmarks.crypto.results import Point

SERVER_TERMS = (
    "each vector, per entry",
    "each mask taken off, per entry",
    "each client's keys, per holder",
    "each secret, per threshold squared",
    "each pair of a dropped client and a neighbour",
)
SUBMIT_TERMS = ("per entry", "per entry and mask", "per neighbour")
# With fewer sums the terms cannot be told apart, and what the model says of larger ones would be made up.
FEWEST = 12
KEYS_TERMS = ("per client", "per holder", "per holder and threshold")


@dataclass(frozen=True)
class Shape:
    """What the cost of one masked sum depends on."""

    clients: int
    length: int
    dropped: int
    neighbours: int
    threshold: int

    @property
    def survivors(self) -> int:
        """Clients whose vectors are summed."""
        return self.clients - self.dropped

    @property
    def masks(self) -> float:
        """Masks that the server takes off: the survivors' own, and those between dropped clients and survivors."""
        return self.survivors + self.dropped * self.neighbours * self.survivors / max(1, self.clients - 1)

    @classmethod
    def of(cls, point: Point) -> Shape:
        """The shape of a measured point."""
        names = ("clients", "length", "dropped", "neighbours", "threshold")
        return cls(*(int(point[name]) for name in names))


def _features(shape: Shape, what: str) -> list[float]:
    m, holders, t = shape.length, shape.neighbours + 1, shape.threshold
    if what == "server_s":
        pairs = shape.dropped * shape.neighbours
        return [shape.survivors * m, shape.masks * m, shape.clients * holders, shape.clients * t * t, pairs]
    return [m, holders * m, holders] if what == "submit_s" else [1, holders, holders * t]


@dataclass(frozen=True)
class Model:
    """Non-negative seconds for each term; `held_out` was not used to fit them."""

    terms: dict[str, tuple[float, ...]]
    held_out: tuple[Point, ...]
    fitted: int
    worst: dict[str, float]

    def predict(self, shape: Shape, what: str) -> float:
        """Seconds of `server_s`, `submit_s` (one client) or `keys_s` (one client)."""
        return float(np.dot(_features(shape, what), self.terms[what]))

    def error(self, point: Point, what: str) -> float:
        """Predicted over measured, minus 1."""
        return self.predict(Shape.of(point), what) / float(point[what]) - 1


def fit(points: Sequence[Point]) -> Model | None:
    """Fit by relative least squares without the points of most clients times entries; None if there are too few."""
    sizes = [int(point["clients"]) * int(point["length"]) for point in points]
    used = [point for point, size in zip(points, sizes, strict=True) if size < max(sizes)]
    held_out = tuple(point for point, size in zip(points, sizes, strict=True) if size == max(sizes))
    if len(used) < FEWEST:
        return None
    terms, worst = {}, {}
    for what in ("server_s", "submit_s", "keys_s"):
        rows = np.array([_features(Shape.of(point), what) for point in used])
        measured = np.array([float(point[what]) for point in used])
        relative = rows / measured[:, None]
        size = np.maximum(relative.max(axis=0), 1e-300)
        solution, _ = nnls(relative / size, np.ones(len(used)))
        terms[what] = tuple(float(value) for value in solution / size)
        worst[what] = float(np.abs(relative @ terms[what] - 1).max())
    return Model(terms, held_out, len(used), worst)
