"""The grid of sums, measured where it was and modelled where it was not."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.crypto import costmodel
from benchmarks.crypto.cohorts import share_plan
from benchmarks.crypto.costmodel import Model, Shape
from benchmarks.crypto.grid import DROPOUTS, LENGTHS, SIZES, sum_name
from benchmarks.crypto.results import Results


@dataclass(frozen=True)
class Cell:
    """One sum: seconds of one client (`submit_s`, `keys_s`) and of the server (`vectors_s` of it take in vectors).

    Bytes are for each parameter of the vector, and of all else that a client sends. NaN: not modelled.
    """

    shape: Shape
    dropout: float
    submit_s: float
    keys_s: float
    server_s: float
    vectors_s: float
    wire_bytes: float
    other_bytes: float
    measured: bool


def model_of(results: Results) -> Model | None:
    """The cost model of the masked sums that were measured."""
    return costmodel.fit([point for name, point in results.points.items() if name.startswith("sum secagg+")])


def cells(results: Results, model: Model | None) -> list[Cell]:
    """The grid in order; what was not measured comes from the model, or is left out without one."""
    grid = [(n, length, dropout) for n in SIZES for length in LENGTHS for dropout in DROPOUTS]
    found = [_measured(results, *place) or _modelled(model, *place) for place in grid]
    return [cell for cell in found if cell is not None]


def _measured(results: Results, n: int, length: int, dropout: float) -> Cell | None:
    point = results.points.get(sum_name("secagg+", n, length, dropout))
    if point is None:
        return None
    names = ("submit_s", "keys_s", "server_s", "server_vectors_s", "wire_bytes", "other_bytes")
    submit, keys, server, vectors, wire, other = (float(point[name]) for name in names)
    return Cell(Shape.of(point), dropout, submit, keys, server, vectors, wire, other, True)


def _modelled(model: Model | None, n: int, length: int, dropout: float) -> Cell | None:
    masks = share_plan("secagg+", n, max(dropout, 0.05), (length,)).masks
    if model is None or masks is None:
        return None
    shape = Shape(n, length, math.ceil(dropout * n), masks.neighbours, masks.threshold)
    submit, keys, server = (model.predict(shape, what) for what in ("submit_s", "keys_s", "server_s"))
    return Cell(shape, dropout, submit, keys, server, math.nan, math.nan, math.nan, False)
